"""Devices of one owner agree, whatever comes between: acknowledgements, expiry, restarts, a restored copy, a new claim.

The suite takes a few sequences, the same every time, and `make long` takes more. A longer run takes as many others as
it is told, twice as long:
`DEVICES_EXAMPLES=2000 pytest tests/inboxes/test_devices.py`.
"""

import asyncio
import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from inbox_server.errors import Refused
from tests.support.api_inbox import HOUR, id_of
from tests.support.devices import Device, Listener, Owner, Server

T = TypeVar("T")
Copy = tuple[Path, Owner]
Message = tuple[str, int]
"""Its text, and for how many seconds."""

EXAMPLES: Final = int(os.environ.get("DEVICES_EXAMPLES", "0"))
SELDOM: Final = 4  # deliveries before what happens to all happens again
WHOLE: Final = 1000  # entries on a page that holds all
MEMORY_BYTES: Final = 60_000_000  # several times what a sequence takes; the server wants 16 MB left

texts = st.sampled_from("abcde")  # few, so that much is a repeat
messages = st.lists(st.tuples(texts, st.sampled_from((10, 4000, 50_000, 50_000))), min_size=1, max_size=4)
waits = st.sampled_from((1, 9, 10, HOUR, 4000, 50_000))
limits = st.integers(1, 3)
devices = st.integers(0, 2)
listening = st.sets(devices)
"""Who catches up at once, while the others are away."""


def _in_memory() -> Path | None:
    """A folder in memory if there is one with room, because on a busy disk nearly all the time goes into waiting."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_BYTES else None


class Devices(RuleBasedStateMachine):
    """Two devices that list and one that listens, at one inbox."""

    copies: Bundle[Copy] = Bundle("copies")

    def __init__(self) -> None:
        super().__init__()
        self.opened = contextlib.ExitStack()
        self.folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory(dir=_in_memory())))
        self.runner = self.opened.enter_context(asyncio.Runner())
        self.server = Server(self.folder)
        self.owner = Owner()
        self.written = 0
        """Deliveries since something happened to all."""
        self.put_back = False
        """Whether the inbox was ever restored or claimed anew: only then may something come back that was read."""
        self.devices = (Device(self.server), Device(self.server), Listener(self.server))
        self.run(self.server.open())

    @initialize(messages=messages)
    def begin(self, messages: list[Message]) -> None:
        self.claim()
        self.deliver(messages, {0})

    def teardown(self) -> None:
        try:
            self.they_agree(1)
        finally:
            self._leave(told=False)
            self.run(self.server.close())
            self.opened.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def now(self) -> int:
        return self.server.clock()

    # What devices do.

    @rule(device=devices, turns=st.integers(1, 3))
    def turn(self, device: int, turns: int) -> None:
        """An entry at a time, and perhaps stop half-way."""
        for _ in range(turns):
            self.run(self.devices[device].turn(1))

    @rule(device=devices, limit=limits)
    def catch_up(self, device: int, limit: int) -> None:
        self._catch_up({device}, limit)

    @precondition(lambda self: self.shown())
    @rule(data=st.data(), listening=listening)
    def acknowledge(self, data: st.DataObject, listening: set[int]) -> None:
        self._acknowledge_one(data)
        self._catch_up(listening)

    @precondition(lambda self: self.shown())
    @rule(data=st.data(), seconds=st.none() | waits, repeats=messages, listening=listening)
    def acknowledge_and_wait(
        self, data: st.DataObject, seconds: int | None, repeats: list[Message], listening: set[int]
    ) -> None:
        """Until it is forgotten, or not so long; then it comes again. Who listens only now has missed all of that."""
        device, id, text = self._acknowledge_one(data)
        forgotten = max(self.owner.read[id].forget_at - self.now, 1) if self.owner.claimed else 1
        again = [(text, life) for _, life in repeats]
        self.wait(seconds or forgotten, True, again if seconds else repeats, listening | {device})

    @rule(device=devices, texts=st.lists(texts, min_size=1, max_size=2), listening=listening)
    def acknowledge_anything(self, device: int, texts: list[str], listening: set[int]) -> None:
        """What it has not heard of yet, or nobody has; as one who read it at another of the owner's inboxes."""
        self._acknowledge(self.devices[device], [id_of(text) for text in texts])
        self._catch_up(listening)

    def shown(self) -> list[tuple[int, str, str]]:
        """What each device shows: which one, the id, the text."""
        return [
            (number, id, text) for number, device in enumerate(self.devices) for id, (text, _) in device.shown().items()
        ]

    @rule(limit=limits)
    def they_agree(self, limit: int) -> None:
        self._catch_up({0, 1, 2}, limit)
        assert not self._catch_up({0, 1, 2}, limit), "what is acknowledged again comes back"
        new = Device(self.server)
        self.run(new.catch_up(WHOLE))
        for device in (new, *self.devices):
            self._check(device)
            assert not device.remembered() & device.shown().keys(), "a device knows that it was read"

    # What happens to them.

    @rule(messages=messages, listening=listening)
    def deliver(self, messages: list[Message], listening: set[int]) -> None:
        for text, life in messages if self.owner.claimed else ():
            self.run(self.server.deliver(text, life))
            self.owner.deliver(text, self.now + life, self.now)
            self.written += 1
        self._catch_up(listening)

    @rule(seconds=waits, sweeping=st.booleans(), messages=messages, listening=listening)
    def wait(self, seconds: int, sweeping: bool, messages: list[Message], listening: set[int]) -> None:
        """And then something comes."""
        self.server.clock.advance(seconds)
        if sweeping:
            self.run(self.server.sweep())
            self.owner.sweep(self.now)
        self.deliver(messages, listening)

    @precondition(lambda self: self.written > SELDOM)
    @rule(told=st.booleans())
    def restart(self, told: bool) -> None:
        self._leave(told=told)
        self.run(self.server.close())
        self.run(self.server.open())
        self.written = 0

    @rule(data=st.data(), early=st.integers(0, 1), messages=messages, listening=listening)
    def wait_for_an_edge(self, data: st.DataObject, early: int, messages: list[Message], listening: set[int]) -> None:
        """To the second in which something expires or may be forgotten, or the one before."""
        if edges := self.owner.edges(self.now):
            self.wait(data.draw(st.sampled_from(edges)) - early - self.now, True, messages, listening)

    @precondition(lambda self: self.written > SELDOM)
    @rule(target=copies, settings_only=st.booleans())
    def back_up(self, settings_only: bool) -> Copy:
        path = self.folder / f"copy {len(list(self.folder.iterdir()))}"
        self.server.back_up(path, settings_only=settings_only)
        return path, self.owner.without_messages() if settings_only else copy.deepcopy(self.owner)

    @rule(copied=copies, told=st.booleans(), messages=messages, listening=listening)
    def restore(self, copied: Copy, told: bool, messages: list[Message], listening: set[int]) -> None:
        """And then something comes, so that a change number from before is given out again."""
        path, owner = copied
        self._leave(told=told)
        self.run(self.server.restore(path))
        self.owner = copy.deepcopy(owner)
        self.put_back = True
        self.written = 0
        self.deliver(messages, listening)

    @precondition(lambda self: self.written > SELDOM // 2)
    @rule(told=st.booleans(), lost=messages, heard=listening, messages=messages, listening=listening)
    def lose_a_moment(
        self, told: bool, lost: list[Message], heard: set[int], messages: list[Message], listening: set[int]
    ) -> None:
        """The last copy is hardly older than what was lost, so that change numbers soon are as they were."""
        copied = self.back_up(settings_only=False)
        self.deliver(lost, heard)
        self.restore(copied, told, messages, listening)

    @precondition(lambda self: self.owner.claimed and self.written > SELDOM)
    @rule(claims=st.integers(0, 2), messages=messages, listening=listening)
    def give_up(self, claims: int, messages: list[Message], listening: set[int]) -> None:
        """And perhaps claim it anew, and then the same once more."""
        for _ in range(max(claims, 1)):
            self.run(self.server.give_up())
            self.owner = Owner()
            self.written = 0
            self.put_back = True
            if claims:
                self.claim()
                self.deliver(messages, listening)

    @precondition(lambda self: not self.owner.claimed)
    @rule()
    def claim(self) -> None:
        self.run(self.server.claim())
        self.owner.claimed = True

    def _acknowledge_one(self, data: st.DataObject) -> tuple[int, str, str]:
        number, id, text = data.draw(st.sampled_from(self.shown()))
        self._acknowledge(self.devices[number], [id])
        return number, id, text

    def _acknowledge(self, device: Device, ids: list[str]) -> None:
        if not self.owner.claimed:
            with pytest.raises(Refused, match="no_inbox"):
                self.run(device.acknowledge(ids))
            return
        self.run(device.acknowledge(ids))
        for id in ids:
            self.owner.acknowledge(id, self.now)

    def _catch_up(self, listening: set[int], limit: int = 2) -> bool:
        """Whether any of them had to acknowledge something again."""
        listed_again = False
        for device in [self.devices[number] for number in sorted(listening)]:
            self.run(device.catch_up(limit))
            self._check(device)
            if again := sorted(device.listed_again()):
                assert self.put_back, "what was read is listed again"
                self._acknowledge(device, again)
                listed_again = True
        return listed_again

    def _check(self, device: Device) -> None:
        """It shows what must be there, and nothing that was read; not even if its clock were slow."""
        shown, expected = device.shown(), self.owner.shown(self.now)
        assert shown == expected, f"{type(device).__name__} shows {shown}, and should {expected}"
        assert not device.held.keys() & self.owner.finished, f"{type(device).__name__} has not heard what was read"

    def _leave(self, *, told: bool) -> None:
        self.server.stop()
        for device in self.devices:
            self.run(device.leave(told=told))


TestDevicesAgree = Devices.TestCase
TestDevicesAgree.settings = settings(
    max_examples=EXAMPLES or 20,
    stateful_step_count=80 if EXAMPLES else 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestDevicesAgreeLonger(Devices.TestCase):  # type: ignore[misc, valid-type]
    pytestmark = pytest.mark.long
    settings = settings(TestDevicesAgree.settings, max_examples=EXAMPLES or 60)


pytestmark = pytest.mark.timeout(0 if EXAMPLES else 400)  # most of it for making a sequence that fails a short one
