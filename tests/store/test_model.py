"""The store against a plain model of what it promises, over sequences that Hypothesis makes up."""

import asyncio
import contextlib
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.errors import Refused
from inbox_server.store.contract import TOMBSTONE_SECONDS, WEEK_SECONDS, Cursor, Delivered, Quota
from tests.store.test_sheets import give, outcome
from tests.support.stores import ADMISSION, STORES, Box, Kind, claimed_box, entries_of, id_of, texts_of

T = TypeVar("T")

QUOTA = Quota(entries=4, bytes=40, max_retention=20_000, tombstones=5)
TEXTS = st.sampled_from([letter * size for size, letter in enumerate("abcdefghijkl", 1)])
LIVES = st.sampled_from([10, 4000, 50_000])
TICKETS = st.integers(0, 3)
WAITS = st.sampled_from([1, 9, 10, 3600, 5000, 20_000])


@dataclass(slots=True)
class Known:
    """An entry, or what is remembered of it once it was read."""

    change: int
    read: bool
    expires: int
    forget_at: int


class Model:
    """What one inbox promises, in the plainest way: a dictionary."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.known: dict[str, Known] = {}
        self.change = ADMISSION.first_change
        self.horizon = ADMISSION.first_change
        self.refused = False
        self.log: list[tuple[str, int]] = []
        """The entries that are still in the log, and until when each stays there."""
        self.forgotten = 0
        """How many were in the log before those."""

    def deliver(self, text: str, life: int) -> tuple[bool, int] | None:
        """(new, expires), or None when the inbox is full."""
        known = self.known.get(text)
        before = known.expires if known else 0
        answer = self._deliver(text, life)
        if answer and (answer[0] or answer[1] > before):
            self._log(text, answer[1])
        return answer

    def _deliver(self, text: str, life: int) -> tuple[bool, int] | None:
        known = self.known.get(text)
        granted = self.now + life
        if known is None:
            return self._keep(text, granted)
        new = known.expires <= self.now
        if known.read:
            if new and not self._make_room(text):
                return None
            known.expires = granted if new else max(known.expires, granted)
            known.forget_at = max(known.forget_at, known.expires)
            return new, known.expires
        if new:
            self._drop(text)
            return self._keep(text, granted)
        if granted > known.expires:
            known.expires = known.forget_at = granted
            known.change = self._next()
        return False, known.expires

    def acknowledge(self, texts: list[str]) -> None:
        for text in texts:
            known = self.known.get(text)
            if known is None:
                self.known[text] = Known(self._next(), True, 0, self.now + QUOTA.max_retention)
            elif not known.read:
                known.read, known.change = True, self._next()
                known.forget_at = max(known.expires, self.now + TOMBSTONE_SECONDS)
                self.refused = False
        if len(self.read()) > QUOTA.tombstones:  # they are fewer than are forgotten at a time
            for text in self.read():
                self._drop(text)

    def sweep(self) -> None:
        for text in [text for text, known in self.known.items() if known.forget_at <= self.now]:
            self._drop(text)
        while self.log and self.log[0][1] <= self.now:
            self.log.pop(0)
            self.forgotten += 1

    def unread(self) -> list[str]:
        return [text for text, known in self.known.items() if not known.read]

    def read(self) -> list[str]:
        return [text for text, known in self.known.items() if known.read]

    def since(self, change: int) -> tuple[list[str], list[str]]:
        """What a device that knows everything up to `change` has to hear: entries, and what was read."""
        later = sorted((known.change, text) for text, known in self.known.items() if known.change > change)
        listed = [text for _, text in later if not self.known[text].read and self.known[text].expires > self.now]
        return listed, [text for _, text in later if self.known[text].read]

    def _keep(self, text: str, granted: int) -> tuple[bool, int] | None:
        if not self._make_room(text):
            return None
        self.known[text] = Known(self._next(), False, granted, granted)
        return True, granted

    def _make_room(self, text: str) -> bool:
        if not self._has_room(text):
            for other in [each for each in self.unread() if self.known[each].expires <= self.now]:
                self._drop(other)
            self.refused = self.refused or not self._has_room(text)
        return self._has_room(text)

    def _has_room(self, text: str) -> bool:
        unread = self.unread()
        return len(unread) < QUOTA.entries and sum(map(len, unread)) + len(text) <= QUOTA.bytes

    def _drop(self, text: str) -> None:
        known = self.known.pop(text)
        if known.read:
            self.horizon = max(self.horizon, known.change)
        else:
            self.refused = False

    def _log(self, text: str, expires: int) -> None:
        """What lives until the last second of a day that has not begun."""
        if (expires + 1) % DAY_SECONDS == 0 and expires - DAY_SECONDS >= self.now:
            day_of_oblivion = (self.now + QUOTA.max_retention) // DAY_SECONDS
            self.log.append((text, max(expires, (day_of_oblivion + 1) * DAY_SECONDS - 1)))

    def _next(self) -> int:
        self.change += 1
        return self.change


class Devices(RuleBasedStateMachine):
    """Senders, devices with cursors of any age, and the passing of time, at one inbox."""

    kind: Kind

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.opened = contextlib.AsyncExitStack()
        folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory()))
        self.box: Box = self.run(self.opened.enter_async_context(claimed_box(folder, kind=self.kind, quota=QUOTA)))
        self.model = Model(self.box.clock())
        self.cursors: list[Cursor] = [self.run(self.box.cursor())]
        self.week, self.tickets = self.model.now // WEEK_SECONDS, dict[int, str | None]()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.opened.aclose())
        self.runner.close()

    @rule(text=TEXTS, life=LIVES)
    def deliver(self, text: str, life: int) -> None:
        expected = self.model.deliver(text, life)
        try:
            delivered: Delivered | None = self.run(self.box.deliver(text, life))
        except Refused as refusal:
            if refusal.code != "inbox_full":
                raise
            delivered = None
        assert (delivered and (delivered.new, delivered.expires)) == expected

    @rule(text=TEXTS, life=LIVES, number=TICKETS)
    def deliver_sealed(self, text: str, life: int, number: int) -> None:
        """Each ticket is for one text; what does not fit leaves it unused."""
        if self.model.now // WEEK_SECONDS != self.week:
            return  # its sheet is over
        if number not in self.tickets:
            expected: str | bool = "not_accepted"
        elif self.tickets[number] not in (None, text):
            expected = "ticket_spent"
        else:
            delivered = self.model.deliver(text, life)
            expected = "inbox_full" if delivered is None else delivered[0]
            if delivered:
                self.tickets[number] = text
        assert self.run(outcome(self.box, text, number, life)) == expected

    @rule(numbers=st.sets(TICKETS, min_size=1))
    def give_tickets(self, numbers: set[int]) -> None:
        """Another sheet: what was used stays used, and what is not on it is gone."""
        if self.model.now // WEEK_SECONDS == self.week:
            self.run(give(self.box, *numbers))
            used = {number: text for number, text in self.tickets.items() if text is not None}
            self.tickets = dict.fromkeys(numbers) | used

    @rule(text=TEXTS, days=st.integers(1, 2))
    def deliver_for_days(self, text: str, days: int) -> None:
        """What lives for a day or more expires at the end of a day, and is found in another way."""
        self.deliver(text, self._until_end_of_day(days))

    @rule(seconds=st.integers(-1, 1), sweeping=st.booleans())
    def wait_for_the_end_of_the_day(self, seconds: int, sweeping: bool) -> None:
        self.wait(max(0, self._until_end_of_day(0) + seconds), sweeping)

    def _until_end_of_day(self, days: int) -> int:
        return end_of_day(UnixTime(self.model.now + days * DAY_SECONDS)) - self.model.now

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        if self.model.unread():
            self.acknowledge([data.draw(st.sampled_from(self.model.unread()))])

    @rule(texts=st.lists(TEXTS, min_size=1, max_size=3))
    def acknowledge(self, texts: list[str]) -> None:
        self.model.acknowledge(texts)
        self.run(self.box.acknowledge(*texts))

    @rule(seconds=WAITS, sweeping=st.booleans())
    def wait(self, seconds: int, sweeping: bool) -> None:
        self.model.now += seconds
        self.box.clock.advance(seconds)
        if sweeping:
            self.sweep()

    @rule()
    def sweep(self) -> None:
        self.model.sweep()
        self.run(self.box.sweep())

    @rule(limit=st.integers(1, 4))
    def list_in_pages(self, limit: int) -> None:
        assert self.run(self.box.page(limit=limit)).read == ()
        listed, _ = self._walk(None, limit)
        assert listed == self.model.since(0)[0]

    @rule(data=st.data(), limit=st.integers(1, 4))
    def follow(self, data: st.DataObject, limit: int) -> None:
        cursor = data.draw(st.sampled_from(self.cursors))
        if cursor.change < self.model.horizon:
            try:
                self._walk(cursor, limit)
            except Refused as refusal:
                if refusal.code != "cursor_gone":
                    raise
            else:
                raise AssertionError("the cursor missed a tombstone that is gone")
            return
        assert self._walk(cursor, limit) == self.model.since(cursor.change)

    def _walk(self, after: Cursor | None, limit: int) -> tuple[list[str], list[str]]:
        """Everything on the pages from `after` on: entries, and what was read."""
        name_of = {id_of(text): text for text in self.model.known}
        page = self.run(self.box.page(after, limit))
        listed, read = texts_of(page), [name_of[id] for id in page.read]
        while page.more:
            page = self.run(self.box.page(page.cursor, limit))
            assert page.messages or page.read
            listed += texts_of(page)
            read += [name_of[id] for id in page.read]
        self.cursors.append(page.cursor)
        return listed, read

    @invariant()
    def the_log_is_as_the_model_has_it(self) -> None:
        if not hasattr(self, "box"):
            return
        assert self.run(self.box.logged(limit=3)) == [id_of(text) for text, _ in self.model.log]
        assert self.run(self.box.log()).base.n == ADMISSION.first_log.n + self.model.forgotten

    @invariant()
    def the_inbox_is_as_the_model_has_it(self) -> None:
        if not hasattr(self, "box"):
            return
        page, inbox = self.run(self.box.page()), self.run(self.box.settings())
        assert [(entry.message_id, entry.expires) for entry in entries_of(page)] == [
            (text, self.model.known[text].expires) for text in self.model.since(0)[0]
        ]
        assert page.cursor.change == self.model.change
        unread = self.model.unread()
        assert (inbox.unread, inbox.unread_bytes, inbox.read, inbox.refused) == (
            len(unread),
            sum(map(len, unread)),
            len(self.model.read()),
            self.model.refused,
        )


def test_a_store_keeps_its_promises(kind: Kind) -> None:
    class DevicesOfKind(Devices):
        pass

    DevicesOfKind.kind = kind
    run_state_machine_as_test(
        DevicesOfKind,
        settings=settings(
            max_examples=60 if kind is STORES["sqlite"] else 10,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
