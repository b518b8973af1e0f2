"""The whole server over HTTP against a plain model of the protocol, over sequences that Hypothesis makes up.

The suite takes a few sequences, the same every time, and `make long` takes more. A longer run takes as many others as
it is told, twice as long:
`API_MODEL_EXAMPLES=2000 pytest tests/inboxes/test_api_model.py`.
"""

import asyncio
import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from inbox_server.world.local_world import free_socket
from tests.conftest import APP
from tests.support.api_inbox import DAY, HOUR, Change, Delivery, Place
from tests.support.api_twins import LIMITS, OWNERS, PEOPLE, WHOLE, Bookmark, Copy, Twins
from tests.support.postgres import cluster_of
from tests.support.stores import STORES

Message = tuple[str, int | None]
"""Its text and its ttl."""
Sent = tuple[Delivery, str]
Changed = tuple[Change, str]
"""What was asked, and the token that it was asked with."""

EXAMPLES: Final = int(os.environ.get("API_MODEL_EXAMPLES", "0"))
RESTART_AFTER: Final = 6  # writes; otherwise most of a sequence would be restarts
LATE_DEVICES: Final = (1, 2, 4, 8, 16, 32)  # pages ago

owners = st.sampled_from(("bob", "bob", "bob", "carol"))  # most for one inbox, so that something comes together there
people = st.sampled_from(PEOPLE)
apps = st.sampled_from((APP,) * 4 + ("https://other.example",))
texts = st.sampled_from([letter * size for letter, size in zip("abcdefg", (1, 2, 3, 100, 200, 500, 1024), strict=True)])
ttls = st.none() | st.sampled_from((10, 11, 300, HOUR, DAY - 1, DAY, 100_000, 10**9))
messages = st.lists(st.tuples(texts, ttls), max_size=4)
ages = st.sampled_from((0, 0, 0, 0, 1, 10, 30, 300, 359, 360, -60, -61))
waits = st.sampled_from((1, 9, 10, 300, HOUR - 1, HOUR, DAY, 3 * DAY, 5 * DAY))
limits = st.integers(1, 5)
retentions: dict[str, st.SearchStrategy[Any]] = {
    "retention": st.sampled_from((HOUR, DAY - 1, DAY, LIMITS.max_retention))
}
policies: dict[str, st.SearchStrategy[Any]] = {
    "accept": st.sampled_from(("anyone",) * 5 + ("contacts", "contacts", "names", "nobody")),
    "contacts": st.lists(people, max_size=3),
    "blocked": st.lists(people, max_size=2),
}
changes = st.fixed_dictionaries(policies, optional=retentions) | st.fixed_dictionaries({}, optional=retentions)


class Clients(RuleBasedStateMachine):
    """Senders, owners whose devices have cursors of any age, and an operator, at one server."""

    sent: Bundle[Sent] = Bundle("sent")
    changed: Bundle[Changed] = Bundle("changed")
    devices: Bundle[Bookmark] = Bundle("devices")
    copies: Bundle[Copy] = Bundle("copies")
    kept_in = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.opened = contextlib.ExitStack()
        folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory()))
        store = STORES[self.kept_in].config(folder)
        self.twins = Twins(folder, self.opened.enter_context(free_socket()), store)
        self.opened.callback(self.twins.close)
        self.touched: set[str] = set()
        self.following: dict[str, Bookmark | None] = {}
        self.listing: dict[str, Bookmark | None] = {}
        self.late: dict[Place, Bookmark] = {}

    @initialize(target=devices, waiting=messages)
    def open(self, waiting: list[Message]) -> Bookmark | MultipleResults[Bookmark]:
        """Both inboxes are claimed, something waits in Bob's, and a device of his begins to list."""
        self.twins.open()
        for owner in OWNERS:
            self._change(Change(owner, APP, {"accept": "anyone"}, self.now))
        self.deliver("alice", "bob", waiting)
        return self.list_a_page("bob", 1)

    def teardown(self) -> None:
        self.opened.close()

    @property
    def now(self) -> int:
        return self.twins.clock()

    # Senders.

    @rule(target=sent, sender=people, owner=owners, messages=messages)
    def deliver(self, sender: str, owner: str, messages: list[Message]) -> MultipleResults[Sent]:
        return multiple(*[self._deliver(Delivery(sender, owner, APP, text, ttl, self.now)) for text, ttl in messages])

    @rule(target=sent, sender=people, owner=owners, app=apps, message=st.tuples(texts, ttls), age=ages)
    def deliver_oddly(self, sender: str, owner: str, app: str, message: Message, age: int) -> Sent:
        """Perhaps for another app, by a wrong clock, or late."""
        return self._deliver(Delivery(sender, owner, app, *message, self.now - age))

    @rule(target=sent, earlier=sent, fresh=st.booleans())
    def deliver_again(self, earlier: Sent, fresh: bool) -> Sent:
        asked, token = earlier
        return self._deliver(replace(asked, issued=self.now)) if fresh else self._deliver(asked, token)

    # Owners and their devices.

    @rule(owner=owners, texts=st.lists(texts, min_size=1, max_size=3))
    def acknowledge(self, owner: str, texts: list[str]) -> None:
        """What is unread, read already, unknown, or another inbox's."""
        self.twins.acknowledge(owner, texts)
        self.touched.add(owner)

    @rule(device=devices)
    def acknowledge_what_a_device_knows(self, device: Bookmark) -> None:
        self.acknowledge(device.owner, [entry["message_id"] for entry in device.held.values()])

    @rule(target=devices, owner=owners, limit=limits)
    def list_a_page(self, owner: str, limit: int) -> Bookmark | MultipleResults[Bookmark]:
        return self._turn(owner, None, limit) or multiple()

    @rule(target=devices, device=devices, limit=limits, same_token=st.booleans())
    def follow(self, device: Bookmark, limit: int, same_token: bool) -> Bookmark | MultipleResults[Bookmark]:
        return self.twins.turn(device.owner, device, limit, device.issued if same_token else None) or multiple()

    @rule(target=devices, device=devices, limit=limits)
    def follow_to_the_end(self, device: Bookmark, limit: int) -> Bookmark | MultipleResults[Bookmark]:
        turned = self._turn(device.owner, device, limit)
        for _ in range(WHOLE):
            if turned is None or not turned.more:
                return turned or multiple()
            turned = self._turn(device.owner, turned, limit)
        raise AssertionError("the pages do not end")

    @rule(device=devices, owner=owners, limit=limits)
    def follow_in_any_inbox(self, device: Bookmark, owner: str, limit: int) -> None:
        self._turn(owner, device, limit)

    @rule(target=changed, owner=owners, app=apps, age=ages, settings=changes)
    def change_settings(self, owner: str, app: str, age: int, settings: dict[str, Any]) -> Changed:
        return self._change(Change(owner, app, settings, self.now - age))

    @precondition(lambda self: any(inbox.known for inbox in self.twins.model.inboxes.values()))
    @rule(target=changed, owner=owners, age=ages, anew=st.booleans())
    def give_up(self, owner: str, age: int, anew: bool) -> MultipleResults[Changed]:
        asked = [self._change(Change(owner, APP, None, self.now - age))]
        if anew:
            asked.append(self._change(Change(owner, APP, {"accept": "anyone"}, self.now)))
        self._follow_late()
        return multiple(*asked)

    @rule(target=changed, earlier=changed, fresh=st.booleans())
    def change_again(self, earlier: Changed, fresh: bool) -> Changed:
        """The same request; or one with a fresh token, and then the first arrives late."""
        asked, token = earlier
        again = self._change(replace(asked, issued=self.now)) if fresh else earlier
        self._change(asked, token)
        return again

    # Time and the operator.

    @rule(seconds=waits, sweeping=st.booleans(), sender=people, owner=owners, messages=messages)
    def wait(self, seconds: int, sweeping: bool, sender: str, owner: str, messages: list[Message]) -> None:
        """And then something comes."""
        self.twins.wait(seconds)
        self.touched |= {owner for owner, inbox in self.twins.model.inboxes.items() if inbox.known}
        if sweeping:
            self.twins.sweep()
            self._follow_late()
        self.deliver(sender, owner, messages)

    @rule(data=st.data(), early=st.integers(0, 1), sweeping=st.booleans(), owner=owners, messages=messages)
    def wait_for_an_edge(
        self, data: st.DataObject, early: int, sweeping: bool, owner: str, messages: list[Message]
    ) -> None:
        """To the second in which something expires or may be forgotten, or the one before."""
        if edges := self.twins.model.edges():
            self.wait(data.draw(st.sampled_from(edges)) - early - self.now, sweeping, "alice", owner, messages)

    @precondition(lambda self: self.twins.written > RESTART_AFTER)
    @rule()
    def restart(self) -> None:
        self.twins.restart()
        self.touched |= set(OWNERS)
        self._follow_late()

    @precondition(lambda self: self.twins.written > RESTART_AFTER)
    @precondition(lambda self: self.kept_in == "sqlite")  # PostgreSQL has its own tools for that
    @rule(target=copies, settings_only=st.booleans())
    def back_up(self, settings_only: bool) -> Copy:
        return self.twins.back_up(settings_only=settings_only)

    @rule(copy=consumes(copies))
    def restore(self, copy: Copy) -> None:
        self.twins.restore(copy)
        self.touched |= set(OWNERS)
        self._follow_late()

    @invariant()
    def every_inbox_is_as_the_model_has_it(self) -> None:
        """Each that was touched. One device of its owner follows it, another lists it a page at a time."""
        for owner in sorted(self.touched):
            if following := self.following.get(owner):
                self._turn(owner, following, WHOLE)
            listing = self.listing.get(owner)
            self.listing[owner] = self._turn(owner, listing if listing and listing.more else None, 1)
            self.following[owner] = self._turn(owner, None, WHOLE)
            self.twins.settings(owner)
            self.twins.log(owner, 3)
        self.touched.clear()

    def _deliver(self, asked: Delivery, token: str | None = None) -> Sent:
        self.touched.add(asked.owner)
        return asked, self.twins.deliver(asked, token)

    def _change(self, asked: Change, token: str | None = None) -> Changed:
        self.touched.add(asked.owner)
        return asked, self.twins.change(asked, token)

    def _turn(self, owner: str, device: Bookmark | None, limit: int) -> Bookmark | None:
        turned = self.twins.turn(owner, device, limit)
        if turned:
            self.late.pop(turned.place, None)
            self.late[turned.place] = turned
        return turned

    def _follow_late(self) -> None:
        """What was forgotten a moment ago shows to older cursors. Each is tried at every inbox."""
        devices = list(self.late.values())
        for device in [devices[-ago] for ago in LATE_DEVICES if ago <= len(devices)]:
            for owner in OWNERS:
                self._turn(owner, device, WHOLE)


TestServerKeepsItsPromises = Clients.TestCase
TestServerKeepsItsPromises.settings = settings(
    max_examples=EXAMPLES or 12,
    stateful_step_count=80 if EXAMPLES else 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestServerKeepsItsPromisesLonger(Clients.TestCase):  # type: ignore[misc, valid-type]
    pytestmark = pytest.mark.long
    settings = settings(TestServerKeepsItsPromises.settings, max_examples=EXAMPLES or 40)


class ClientsOfPostgres(Clients):
    """The same at a server whose inboxes are in PostgreSQL."""

    kept_in = "postgres"


class TestServerOnPostgresKeepsItsPromises(ClientsOfPostgres.TestCase):  # type: ignore[misc, valid-type]
    """Fewer, because each needs a schema."""

    pytestmark = pytest.mark.postgres
    settings = settings(TestServerKeepsItsPromises.settings, max_examples=EXAMPLES or 5)


@pytest.mark.postgres
def test_a_sweep_beside_a_transaction_that_does_not_end(tmp_path: Path) -> None:
    """As another test of the same run may have one. The sweep waits for it, but not for ever."""
    clients = ClientsOfPostgres()
    with contextlib.closing(asyncio.Runner()) as elsewhere, contextlib.ExitStack() as opened:
        opened.callback(clients.teardown)
        clients.open([("a", 300)])
        reader = elsewhere.run(cluster_of(tmp_path).connect())
        opened.callback(reader.terminate)
        elsewhere.run(reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"))
        clients.acknowledge("bob", ["a"])
        clients.twins.sweep()


pytestmark = pytest.mark.timeout(0 if EXAMPLES else 400)  # most of it for making a sequence that fails a short one
