"""The PostgreSQL store: which work goes to which connection.

Deliveries and acknowledgements go in groups, each kind on a connection of its own; everything else that writes is a
transaction of its own. Row locks keep them apart, so nothing here has to.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, Self, TypeVar

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import (
    Admission,
    Changed,
    Committed,
    Cursor,
    Delivered,
    Load,
    LogPage,
    Page,
    Policy,
    Quota,
    Settings,
    SettingsChange,
    Sheet,
    Subscribed,
    Ticket,
    Totals,
    no_inbox,
)
from inbox_server.store.groups import Groups
from inbox_server.store.postgres.acknowledging import Acknowledgement, acknowledge
from inbox_server.store.postgres.day_keys import KeyGone
from inbox_server.store.postgres.delivering import Delivering, Delivery
from inbox_server.store.postgres.expiry import sweep
from inbox_server.store.postgres.feed import AskedPage, FeedEnd, page_of, read_ends, read_pages
from inbox_server.store.postgres.invites import leave_invite, spend_invite, take_invite
from inbox_server.store.postgres.links import AGAIN, ATTEMPTS, Health, Link, Links
from inbox_server.store.postgres.listening import Listening
from inbox_server.store.postgres.log import read_log
from inbox_server.store.postgres.operations import PostgresOperating
from inbox_server.store.postgres.outages import lapsed_inboxes, prolong, read_seen
from inbox_server.store.postgres.policy import claim_of, give_up_names, proven, read_policies, read_ticket_policies
from inbox_server.store.postgres.primary import Cluster, Connection, Failure, unavailable
from inbox_server.store.postgres.sealing import Sealing
from inbox_server.store.postgres.settings import forget, is_draining, read_settings, read_totals, settle
from inbox_server.store.postgres.sharding import is_away, is_moving
from inbox_server.store.postgres.sheets import keep_sheet
from inbox_server.store.postgres.subscriptions import drop_subscription, subscribe, subscriptions, unsubscribe
from inbox_server.store.postgres.text_days import ensure_days
from inbox_server.store.turns import Turns

T = TypeVar("T")
J = TypeVar("J")

_FULL_RETRY_SECONDS: Final = 3600
_CLOCK_RETRY_SECONDS: Final = 60
_GROUP: Final = 256
_READ_GROUP: Final = 256
_PAGE_GROUP: Final = 4  # pages of up to 110 KB, and none is answered before the last of them is there
_LOGS_AT_ONCE: Final = 16
_LONGEST_LINE: Final = 64
_FEW_IDS: Final = 10
_ACK_BATCH: Final = 100


class PostgresStore:
    """Implements `contract.Store`. Every process that shares a database has one."""

    def __init__(
        self,
        cluster: Cluster,
        sealing: Sealing,
        quota: Quota,
        *,
        changed: Changed,
        committed: Committed,
        watched: Callable[[], Collection[bytes]],
        draining: bool,
        beat: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._others_beat = beat
        self._sealing = sealing
        self._quota = quota
        self._changed = changed
        self._committed = committed
        self._reading = Links(cluster, cluster.readers, "reading from")
        self._writing = Links(cluster, cluster.writers, "writing to")
        self._group_links = Link(cluster), Link(cluster)
        self._health = Health("delivering to")
        self._listening = Listening(cluster, changed, watched, self._beat)
        self._delivering = Delivering(sealing, quota)
        self._deliveries = Groups[Delivery](self._deliver_group, self._answered, most=_GROUP)
        self._acknowledgements = Groups[Acknowledgement](self._acknowledge_group, self._answered, most=_GROUP)
        self._policies = Groups[tuple[bytes, bytes]](partial(self._read_group, read_policies), most=_READ_GROUP)
        self._tickets = Groups[tuple[bytes, Ticket]](partial(self._read_group, read_ticket_policies), most=_READ_GROUP)
        self._ends = Groups[bytes](partial(self._read_group, read_ends), most=_READ_GROUP)
        self._pages = Groups[AskedPage](
            partial(self._read_group, read_pages),
            most=_PAGE_GROUP,
            at_once=cluster.readers - 1,  # so what deliveries ask for has a connection on which nobody reads pages
        )
        self._reads = Turns(_LOGS_AT_ONCE)
        self._writes = Turns(cluster.writers, line=_LONGEST_LINE)
        self.operating = PostgresOperating(
            self._reading, self._writing, lambda inbox: self._tell([inbox]), quota, draining=draining
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for each in (self._group_links[0], self._group_links[1], self._reading, self._writing):
                stack.push_async_callback(each.close)
            await stack.enter_async_context(self._listening)
            for reads in (self._policies, self._tickets, self._ends, self._pages):
                await stack.enter_async_context(reads)
            for writes in (self._deliveries, self._acknowledgements):
                await stack.enter_async_context(writes)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what was begun, then stop."""
        await self._stack.aclose()

    async def proven(self, name: bytes) -> bytes | None:
        return await self._reading.read(lambda db: proven(db, name))

    async def policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        policy: Policy | None = await self._policies.run((inbox, sender))
        return policy

    def known_policy(self, inbox: bytes, sender: bytes) -> Policy | None:  # noqa: ARG002 — the contract's
        return None

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        policy: Policy | None = await self._tickets.run((inbox, ticket))
        return policy

    def known_ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:  # noqa: ARG002
        return None

    async def deliver(
        self,
        inbox: bytes,
        id: bytes,
        message_id: str,
        *,
        expires: UnixTime,
        now: UnixTime,
        ticket: Ticket | None = None,
    ) -> Delivered:
        try:
            body = self._sealing.seal(inbox, id, expires // DAY_SECONDS, message_id)
        except KeyGone as error:
            raise Unavailable(
                "clock_jumped",
                "The keys of this host are of a later day than its clock. Nothing is taken until the clock is there.",
                retry_after=_CLOCK_RETRY_SECONDS,
            ) from error
        asked = Delivery(inbox, id, len(message_id), body, expires, now, ticket)
        delivered: Delivered | None = await self._deliveries.run(asked)
        if delivered is None:
            raise Refused(
                "inbox_full",
                "The recipient's inbox is full; its owner can see so. Nothing was stored.",
                retry_after=_FULL_RETRY_SECONDS,
            )
        return delivered

    async def unread(
        self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
    ) -> Page:
        if after and upto is None:
            end: FeedEnd | None = await self._ends.run(inbox)
            if end is None:
                raise no_inbox()
            if nothing := end.empty_page(after):
                return nothing
        asked = AskedPage(inbox, after, limit, now, upto)
        async with self._reads.line(inbox):
            return page_of(self._sealing, asked, await self._pages.run(asked))

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        async with self._reads.turn(inbox):
            return await self._reading.read(lambda db: read_log(db, inbox, after, limit, self._quota, now))

    def end(self, inbox: bytes) -> Cursor | None:  # noqa: ARG002
        return None

    def load(self) -> Load:
        waiting = len(self._deliveries) + len(self._acknowledgements)
        return Load(waiting, remnants=0, feed_ends=0, policies=0, sheets=0)

    async def acknowledge(self, inbox: bytes, ids: tuple[bytes, ...], *, now: UnixTime) -> None:
        async with self._writes.line(inbox):
            for start in range(0, max(len(ids), 1), _ACK_BATCH):
                batch = ids[start : start + _ACK_BATCH]
                async with self._writes.places if len(batch) > _FEW_IDS else contextlib.nullcontext():
                    await self._acknowledgements.run(Acknowledgement(inbox, batch, now))

    def limit(self, quota: Quota) -> None:
        self._quota = self._delivering.quota = self.operating.quota = quota

    async def totals(self) -> Totals:
        return await self._reading.read(read_totals)

    async def settings(self, inbox: bytes) -> Settings | None:
        return await self._reading.read(lambda db: read_settings(db, inbox))

    async def settle(self, inbox: bytes, change: SettingsChange, *, admission: Admission | None, now: UnixTime) -> bool:
        async with self._writes.turn(inbox):
            return await self._write(inbox, lambda db: settle(db, inbox, change, admission, now))

    async def forget(self, inbox: bytes, *, issued: UnixTime, request: bytes) -> bool:
        done = None
        async with self._writes.line(inbox):
            while done is None:
                async with self._writes.places:
                    done = await self._write(inbox, lambda db: forget(db, inbox, issued, request))
        return done

    async def subscribe(
        self, inbox: bytes, change: SettingsChange, subscription: Subscribed, *, most: int, now: UnixTime
    ) -> bool:
        return await self._write(inbox, lambda db: subscribe(db, inbox, change, subscription, most, now))

    async def unsubscribe(
        self, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, *, now: UnixTime
    ) -> None:
        await self._write(inbox, lambda db: unsubscribe(db, inbox, change, channel, id, now))

    async def subscriptions(self, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
        return await self._reading.read(lambda db: subscriptions(db, inbox, channel))

    async def drop_subscription(self, inbox: bytes, subscription: Subscribed) -> None:
        await self._write(inbox, lambda db: drop_subscription(db, inbox, subscription))

    async def keep_sheet(self, inbox: bytes, change: SettingsChange, sheet: Sheet, *, now: UnixTime) -> None:
        async with self._writes.turn(inbox):
            await self._write(inbox, lambda db: keep_sheet(db, inbox, change, sheet, now))

    async def sweep(self, now: UnixTime) -> None:
        await sweep(self._reading, self._writing, self._sealing, now)

    async def seen(self) -> UnixTime | None:
        return await self._reading.read(read_seen)

    async def prolong(self, since: UnixTime, now: UnixTime) -> None:
        for inbox in await self._reading.read(lambda db: lapsed_inboxes(db, since, now)):
            work = partial(prolong, sealing=self._sealing, inbox=inbox, since=since, now=now, quota=self._quota)
            while not await self._write(inbox, work):
                pass

    async def ping(self) -> None:
        await self._reading.read(lambda db: db.fetchval("SELECT 1 FROM inbox LIMIT 1"))
        await self._writing.run(lambda db: db.fetchval("SELECT pg_logical_emit_message(true, 'ping', '')"))

    async def check_here(self, inbox: bytes) -> None:
        """Raises `Unavailable` when the inbox's shard is in another cluster, or on its way there."""
        if await self._reading.read(lambda db: is_away(db, inbox)):
            raise is_moving()

    async def claim_of(self, name: bytes) -> tuple[bytes, int] | None:
        """The inbox whose owner proved this name last, of those that are here, and when."""
        return await self._reading.read(lambda db: claim_of(db, name))

    async def give_up_names(self, names: Sequence[bytes], *, before: UnixTime) -> None:
        """Drop the claims of these names that are older; a newer one was made in another cluster."""
        await self._writing.transaction(lambda db: give_up_names(db, names, before))

    async def take_invite(self, code: bytes, inbox: bytes, now: UnixTime) -> None:
        """Keep an invite for a claim of this inbox, which may be repeated. Raises `Refused` not_registered."""
        await self._writing.transaction(lambda db: take_invite(db, code, inbox, now))

    async def leave_invite(self, code: bytes, inbox: bytes) -> None:
        """The claim was refused: somebody else may use the invite."""
        await self._writing.transaction(lambda db: leave_invite(db, code, inbox))

    async def spend_invite(self, code: bytes, inbox: bytes) -> None:
        """The claim is done."""
        await self._writing.transaction(lambda db: spend_invite(db, code, inbox))

    async def _write(self, inbox: bytes, work: Callable[[Connection], Awaitable[T]]) -> T:
        """A transaction that may change an inbox, and then wake-ups, also when the caller has gone away."""
        doing = asyncio.ensure_future(self._writing.transaction(work))
        doing.add_done_callback(lambda done: None if done.cancelled() or done.exception() else self._tell([inbox]))
        return await asyncio.shield(doing)

    def _tell(self, inboxes: Collection[bytes]) -> None:
        self._changed(inboxes)
        self._listening.tell(inboxes)

    def _answered(self, jobs: Sequence[Delivery | Acknowledgement], outcomes: Sequence[object]) -> None:
        changed = {job.inbox for job, outcome in zip(jobs, outcomes, strict=True) if not isinstance(outcome, Exception)}
        if changed:
            self._tell(changed)

    async def _deliver_group(self, jobs: list[Delivery]) -> Sequence[Any]:
        start = time.monotonic()
        outcomes = await self._group(self._group_links[0], self._delivering.together, jobs)
        left = [number for number, outcome in enumerate(outcomes) if outcome is None]
        alone = (self._alone(jobs[number]) for number in left)
        for number, outcome in zip(left, await asyncio.gather(*alone, return_exceptions=True), strict=True):
            outcomes[number] = outcome
        self._committed(len(jobs), time.monotonic() - start)
        return outcomes

    async def _alone(self, asked: Delivery) -> Delivered | None:
        """The table of its day is made before: a transaction that waits for one may be in the way of others."""
        await self._writing.run(lambda db: ensure_days(db, {asked.day}))
        return await self._writing.transaction(lambda db: self._delivering.alone(db, asked))

    async def _acknowledge_group(self, jobs: list[Acknowledgement]) -> Sequence[Any]:
        start = time.monotonic()
        outcomes = await self._group(self._group_links[1], lambda db, some: acknowledge(db, some, self._quota), jobs)
        self._committed(len(jobs), time.monotonic() - start)
        return outcomes

    async def _group(
        self, link: Link, work: Callable[[Connection, Sequence[J]], Awaitable[Sequence[Any]]], jobs: Sequence[J]
    ) -> list[Any]:
        """The outcomes of a group. One that is in another's way is done again, in halves; a single job some times."""
        for _ in range(ATTEMPTS if len(jobs) == 1 else 1):
            try:
                return list(self._health.worked(await link.run(lambda db: work(db, jobs))))
            except AGAIN as error:
                failure: BaseException = error
            except Failure as error:
                self._health.failed(error)
                return [unavailable(error)] * len(jobs)
        if len(jobs) == 1:
            self._health.failed(failure)
            return [unavailable(failure)]
        half = len(jobs) // 2
        return [*await self._group(link, work, jobs[:half]), *await self._group(link, work, jobs[half:])]

    async def _read_group(
        self, work: Callable[[Connection, Sequence[J]], Awaitable[list[Any]]], jobs: list[J]
    ) -> list[Any]:
        return await self._reading.read(lambda db: work(db, jobs))

    async def _beat(self, db: Connection) -> None:
        """What other processes may have changed for all of this one."""
        self.operating.draining = await is_draining(db)
        if self._others_beat:
            await self._others_beat(db)
