"""Whatever owners and senders do, with rotations of the secret in between, they are told what they are told without."""

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.identity.layer import layers_of
from inbox_server.store.contract import Cursor, Page, Quota, SettingsChange, Sheet, Subscribed, Ticket, weeks_of
from inbox_server.store.sqlite.opening import add_invite, open_store
from inbox_server.store.sqlite.rekeying import finish_rotation
from tests.conftest import HandClock
from tests.support.amounts import amounts
from tests.support.stores import ADMISSION, APP_HASH, CHECK_VALUE, entries_of, id_of

T = TypeVar("T")

QUOTA: Final = Quota(entries=4, bytes=400, max_retention=20_000, tombstones=5)
OWNERS: Final = [b"the inbox of Bob", b"Carol's inbox..."]
DAN: Final = b"Dan's inbox....."
INBOXES: Final = st.sampled_from(OWNERS)
PEOPLE: Final = [b"Alice, hashed...", b"Mallory, hashed."]
LISTS: Final = st.none() | st.sets(st.sampled_from(PEOPLE)).map(lambda hashes: tuple(sorted(hashes)))
NAMES: Final = [b"one name, hashed", b"another, hashed."]
NAMED: Final = st.none() | st.sets(st.sampled_from(NAMES)).map(lambda hashes: tuple(sorted(hashes)))
CODES: Final = [b"a code, hashed..", b"another code ..."]
TEXTS: Final = st.sampled_from(["a", "bb", '{"c":"c"}', "dddd", "eeeee"])
REQUESTS: Final = st.sampled_from([b"a PUT, hashed...", b"another PUT ...."])
TICKETS: Final = [b"a ticket, hashed", b"another ticket..", b"a third ticket.."]
CHANNELS: Final = st.sampled_from(["push", "matrix"])
ENDPOINTS: Final = st.integers(0, 2)


@dataclass
class Twin:
    """A database; one of the two has its secret rotated now and then."""

    folder: Path
    secrets: list[bytes] = field(default_factory=list)

    async def open(self) -> None:
        self.opened = contextlib.AsyncExitStack()
        layers = layers_of(self.secrets)
        self.woken: set[bytes] = set()
        opening = open_store(
            self.folder, check_value=CHECK_VALUE, layers=layers, quota=QUOTA, changed=self.woken.update
        )
        self.store = await self.opened.enter_async_context(opening)

    async def rotate(self, *, killed: bool) -> None:
        """With `killed`, the server was restarted before it could finish."""
        await self.opened.aclose()
        self.secrets.insert(0, b"secret %d" % len(self.secrets))
        if not killed:
            said: list[str] = []
            layers = layers_of(self.secrets)
            await finish_rotation(self.folder, check_value=CHECK_VALUE, layers=layers, announce=said.append)
            assert "is finished" in said[-1]
        await self.open()

    async def invite(self, code: bytes, expires: UnixTime) -> None:
        layers = layers_of(self.secrets)
        await add_invite(self.folder, code, expires=expires, check_value=CHECK_VALUE, layers=layers)


class Twins(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.temporary = tempfile.TemporaryDirectory()
        self.twins = [Twin(Path(self.temporary.name, name)) for name in ("plain", "rotated")]
        self.clock = HandClock()
        self.cursors: list[Cursor | None] = [None]
        self.repeatable: list[Callable[[Twin], Coroutine[Any, Any, object]]] = []
        self.twins[1].secrets.append(b"the second secret")
        for twin in self.twins:
            self.runner.run(twin.open())
        for inbox in OWNERS:
            self.settle(inbox, b"a PUT, hashed...", None)

    def teardown(self) -> None:
        for twin in self.twins:
            self.runner.run(twin.opened.aclose())
        self.runner.close()
        self.temporary.cleanup()

    def both(self, ask: Callable[[Twin], Coroutine[Any, Any, T]]) -> T | None:
        """What both answer, which must be the same, as must be who is woken by it."""
        answers = [self.runner.run(_answer(ask(twin))) for twin in self.twins]
        plain, rotated = self.twins
        assert answers[0] == answers[1]
        assert plain.woken == rotated.woken
        for twin in self.twins:
            twin.woken.clear()
        answer = answers[0]
        return None if isinstance(answer, Refusal) else answer

    @rule(killed=st.booleans())
    def rotate(self, killed: bool) -> None:
        self.runner.run(self.twins[1].rotate(killed=killed))
        self.runner.run(_restart(self.twins[0]))
        for asked in self.repeatable[-8:]:
            self.both(asked)
        for inbox in OWNERS:
            self.look_at(inbox)
        for name in NAMES:
            self.both(lambda twin, name=name: twin.store.proven(name))  # type: ignore[misc]
        self.both(lambda twin: twin.store.operating.invites(self.clock()))
        for code in CODES:
            self.settle(DAN, b"a PUT, hashed...", code)
            self.both(lambda twin: twin.store.operating.drop(DAN))

    def look_at(self, inbox: bytes) -> None:
        self.both(lambda twin: twin.store.settings(inbox))
        self.both(lambda twin: twin.store.log(inbox, after=0, limit=100, now=self.clock()))
        for sender in PEOPLE:
            self.both(lambda twin, sender=sender: twin.store.policy(inbox, sender))  # type: ignore[misc]
        for channel in ("push", "matrix"):
            self.both(lambda twin, channel=channel: twin.store.subscriptions(inbox, channel))  # type: ignore[misc]

    def ask_repeatably(self, ask: Callable[[Twin], Coroutine[Any, Any, object]]) -> None:
        """It is asked again after the next rotation."""
        self.repeatable.append(ask)
        self.both(ask)

    @rule(
        inbox=INBOXES,
        request=REQUESTS,
        contacts=LISTS,
        blocked=LISTS,
        names=NAMED,
        code=st.sampled_from([None, *CODES]),
    )
    def settle(self, inbox: bytes, request: bytes, code: bytes | None, **lists: tuple[bytes, ...] | None) -> None:
        change = replace(self._change(request), accept="anyone", **lists)  # type: ignore[arg-type]
        admission = replace(ADMISSION, invite=code)
        self.ask_repeatably(lambda twin: twin.store.settle(inbox, change, admission=admission, now=self.clock()))

    def _change(self, request: bytes) -> SettingsChange:
        return SettingsChange(app=APP_HASH, issued=self.clock(), request=request)

    @rule(inbox=INBOXES, request=REQUESTS, earlier=st.integers(0, 100))
    def forget(self, inbox: bytes, request: bytes, earlier: int) -> None:
        issued = UnixTime(self.clock() - earlier)
        self.both(lambda twin: twin.store.forget(inbox, issued=issued, request=request))

    @rule(code=st.sampled_from(CODES))
    def invite(self, code: bytes) -> None:
        async def invite(twin: Twin) -> str | None:
            try:
                await twin.invite(code, UnixTime(self.clock() + 1000))
            except sqlite3.IntegrityError as error:  # the same code twice
                return str(error)
            return None

        self.both(invite)

    @rule(inbox=INBOXES, text=TEXTS, life=st.sampled_from([10, 90_000]))
    def deliver(self, inbox: bytes, text: str, life: int) -> None:
        expires, now = UnixTime(self.clock() + life), self.clock()
        self.both(lambda twin: twin.store.deliver(inbox, id_of(text), text, expires=expires, now=now))

    @rule(inbox=INBOXES, texts=st.lists(TEXTS, max_size=3))
    def acknowledge(self, inbox: bytes, texts: list[str]) -> None:
        ids = tuple(map(id_of, texts))
        self.both(lambda twin: twin.store.acknowledge(inbox, ids, now=self.clock()))

    @rule(inbox=INBOXES, limit=st.integers(1, 5), data=st.data())
    def read(self, inbox: bytes, limit: int, data: st.DataObject) -> None:
        after = data.draw(st.sampled_from(self.cursors))

        async def page(twin: Twin) -> Page:
            page = await twin.store.unread(inbox, after=after, limit=limit, now=self.clock())
            return replace(page, messages=entries_of(page))

        read = self.both(page)
        if read:
            self.cursors.append(read.cursor)

    @rule(inbox=INBOXES, sender=st.sampled_from(PEOPLE))
    def ask_for_the_policy(self, inbox: bytes, sender: bytes) -> None:
        policy = self.both(lambda twin: twin.store.policy(inbox, sender))
        assert all(twin.store.known_policy(inbox, sender) in (policy, None) for twin in self.twins)

    @rule(inbox=INBOXES, channel=CHANNELS, endpoint=ENDPOINTS, edition=st.integers(0, 1), request=REQUESTS)
    def subscribe(self, inbox: bytes, channel: str, endpoint: int, edition: int, request: bytes) -> None:
        kept = _subscribed(channel, endpoint, edition)
        change = self._change(request)
        self.both(lambda twin: twin.store.subscribe(inbox, change, kept, most=2, now=self.clock()))

    @rule(inbox=INBOXES, channel=CHANNELS, endpoint=st.none() | ENDPOINTS, request=REQUESTS)
    def unsubscribe(self, inbox: bytes, channel: str, endpoint: int | None, request: bytes) -> None:
        id = None if endpoint is None else _subscribed(channel, endpoint, 0).id
        change = self._change(request)
        self.both(lambda twin: twin.store.unsubscribe(inbox, change, channel, id, now=self.clock()))

    @rule(inbox=INBOXES, channel=CHANNELS, endpoint=ENDPOINTS, edition=st.integers(0, 1))
    def drop_subscription(self, inbox: bytes, channel: str, endpoint: int, edition: int) -> None:
        dropped = _subscribed(channel, endpoint, edition)
        self.both(lambda twin: twin.store.drop_subscription(inbox, dropped))

    @rule(inbox=INBOXES, suspended=st.booleans())
    def suspend(self, inbox: bytes, suspended: bool) -> None:
        self.both(lambda twin: getattr(twin.store.operating, "suspend" if suspended else "resume")(inbox))
        self.both(lambda twin: twin.store.operating.look_up(inbox))

    @rule(code=st.sampled_from(CODES), digits=st.integers(0, 32))
    def revoke_an_invite(self, code: bytes, digits: int) -> None:
        self.both(lambda twin: twin.store.operating.invites(self.clock()))
        self.both(lambda twin: twin.store.operating.revoke_invite(code.hex()[:digits]))

    @rule(inbox=INBOXES, tickets=st.sets(st.sampled_from(TICKETS)), request=REQUESTS)
    def keep_a_sheet(self, inbox: bytes, tickets: set[bytes], request: bytes) -> None:
        sheet, change = Sheet(weeks_of(self.clock())[0], tuple(sorted(tickets))), self._change(request)
        self.both(lambda twin: twin.store.keep_sheet(inbox, change, sheet, now=self.clock()))

    @rule(inbox=INBOXES, ticket=st.sampled_from(TICKETS), text=TEXTS)
    def deliver_sealed(self, inbox: bytes, ticket: bytes, text: str) -> None:
        used = Ticket(ticket, id_of(f"{ticket.hex()} {text}")[:16], weeks_of(self.clock()))
        expires, now = UnixTime(self.clock() + 90_000), self.clock()
        policy = self.both(lambda twin: twin.store.ticket_policy(inbox, used))
        assert all(twin.store.known_ticket_policy(inbox, used) in (policy, None) for twin in self.twins)
        self.ask_repeatably(
            lambda twin: twin.store.deliver(inbox, id_of(text), text, expires=expires, now=now, ticket=used)
        )

    @rule(seconds=st.sampled_from([0, 1, 10, 4000, 90_000]))
    def wait_and_sweep(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.both(lambda twin: twin.store.sweep(self.clock()))

    @rule()
    def find_that_nothing_ran(self) -> None:
        since = self.clock()
        self.clock.advance(90_000)
        self.both(lambda twin: twin.store.prolong(since, self.clock()))


def _subscribed(channel: str, endpoint: int, edition: int) -> Subscribed:
    return Subscribed(channel, b"%8s, place%d" % (channel.encode(), endpoint), b"sealed %05d" % edition + b"." * 40)


@dataclass(frozen=True)
class Refusal:
    code: str


async def _answer(asked: Awaitable[T]) -> T | Refusal:
    try:
        return await asked
    except Refused as refused:
        return Refusal(refused.code)


async def _restart(twin: Twin) -> None:
    await twin.opened.aclose()
    await twin.open()


@amounts(10, 25)
def test_rotations_change_no_answer(amount: int) -> None:
    run_state_machine_as_test(
        Twins,
        settings=settings(
            max_examples=amount, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
