"""One store over several clusters: each inbox is in one of them, and no statement crosses two.

An answer of "no such inbox" is believed only after a look at whether its shard is away: a process may not have heard
yet that it was moved. Names are looked for everywhere, and invites are in the first cluster.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import (
    Admission,
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
)
from inbox_server.store.operating import Invite, Known, Overview, SizeClass, Standby
from inbox_server.store.postgres.sharding import Placed
from inbox_server.store.postgres.store import PostgresStore

T = TypeVar("T")
_ABSENT = ("no_inbox", "not_accepted")


class ShardedStore:
    """Implements `contract.Store`. `placed` says where each inbox is, and may change at any time."""

    def __init__(self, stores: Sequence[PostgresStore], placed: Callable[[], Placed]) -> None:
        self._stores = stores
        self._placed = placed
        self.operating = ShardedOperating(stores, self._at)

    async def _at(self, inbox: bytes, ask: Callable[[PostgresStore], Awaitable[T]]) -> T:
        """The answer of the cluster that has the inbox. Raises `Unavailable` if it was, or is being, moved."""
        store = self._stores[self._placed().cluster_of(inbox)]
        try:
            answer = await ask(store)
        except Refused as refusal:
            if refusal.code in _ABSENT:
                await store.check_here(inbox)
            raise
        if not answer:
            await store.check_here(inbox)
        return answer

    async def proven(self, name: bytes) -> bytes | None:
        """Of several claims the newest. While a cluster is away, only what the others know; else `Unavailable`."""
        found = await asyncio.gather(*(store.claim_of(name) for store in self._stores), return_exceptions=True)
        claims = [each for each in found if isinstance(each, tuple)]
        if claims:
            return max(claims, key=lambda claim: claim[1])[0]
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return None

    async def policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        return await self._at(inbox, lambda store: store.policy(inbox, sender))

    def known_policy(self, inbox: bytes, sender: bytes) -> Policy | None:  # noqa: ARG002 — the contract's
        return None

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        return await self._at(inbox, lambda store: store.ticket_policy(inbox, ticket))

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
        return await self._at(
            inbox, lambda store: store.deliver(inbox, id, message_id, expires=expires, now=now, ticket=ticket)
        )

    async def unread(
        self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
    ) -> Page:
        return await self._at(inbox, lambda store: store.unread(inbox, after=after, limit=limit, now=now, upto=upto))

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        return await self._at(inbox, lambda store: store.log(inbox, after=after, limit=limit, now=now))

    def end(self, inbox: bytes) -> Cursor | None:  # noqa: ARG002
        return None

    def load(self) -> Load:
        loads = [dataclasses.astuple(store.load()) for store in self._stores]
        return Load(*map(sum, zip(*loads, strict=True)))

    def limit(self, quota: Quota) -> None:
        for store in self._stores:
            store.limit(quota)

    async def totals(self) -> Totals:
        totals = await asyncio.gather(*(store.totals() for store in self._stores))
        return Totals(*map(sum, zip(*map(dataclasses.astuple, totals), strict=True)))

    async def acknowledge(self, inbox: bytes, ids: tuple[bytes, ...], *, now: UnixTime) -> None:
        await self._at(inbox, lambda store: _done(store.acknowledge(inbox, ids, now=now)))

    async def settings(self, inbox: bytes) -> Settings | None:
        return await self._at(inbox, lambda store: store.settings(inbox))

    async def settle(self, inbox: bytes, change: SettingsChange, *, admission: Admission | None, now: UnixTime) -> bool:
        """In steps, each of which may be repeated: take the invite, settle, give up the names in other clusters."""
        home = self._stores[self._placed().cluster_of(inbox)]
        invite = admission.invite if admission and await home.settings(inbox) is None else None
        if admission:
            admission = replace(admission, invite=None, max_inboxes=await self._most_at(home, admission.max_inboxes))
        if invite is not None:
            await self._stores[0].take_invite(invite, inbox, now)
        try:
            settling = partial(_settle, inbox=inbox, change=change, admission=admission, now=now)
            (new,) = await self._at(inbox, settling)
        except Refused as refusal:
            if invite is not None and not isinstance(refusal, Unavailable):
                await self._stores[0].leave_invite(invite, inbox)
            raise
        if invite is not None:
            await self._stores[0].spend_invite(invite, inbox)
        if change.names:
            for store in self._stores:
                if store is not home:
                    await store.give_up_names(change.names, before=change.issued)
        return new

    async def _most_at(self, home: PostgresStore, most: int | None) -> int | None:
        """How many inboxes a cluster may have, with those that the others have now."""
        if most is None:
            return None
        others = await asyncio.gather(*(store.totals() for store in self._stores if store is not home))
        return most - sum(totals.inboxes for totals in others)

    async def forget(self, inbox: bytes, *, issued: UnixTime, request: bytes) -> bool:
        return await self._at(inbox, lambda store: store.forget(inbox, issued=issued, request=request))

    async def subscribe(
        self, inbox: bytes, change: SettingsChange, subscription: Subscribed, *, most: int, now: UnixTime
    ) -> bool:
        return await self._at(inbox, lambda store: store.subscribe(inbox, change, subscription, most=most, now=now))

    async def unsubscribe(
        self, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, *, now: UnixTime
    ) -> None:
        await self._at(inbox, lambda store: _done(store.unsubscribe(inbox, change, channel, id, now=now)))

    async def subscriptions(self, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
        return await self._at(inbox, lambda store: store.subscriptions(inbox, channel))

    async def drop_subscription(self, inbox: bytes, subscription: Subscribed) -> None:
        await self._at(inbox, lambda store: _done(store.drop_subscription(inbox, subscription)))

    async def keep_sheet(self, inbox: bytes, change: SettingsChange, sheet: Sheet, *, now: UnixTime) -> None:
        await self._at(inbox, lambda store: _done(store.keep_sheet(inbox, change, sheet, now=now)))

    async def sweep(self, now: UnixTime) -> None:
        await _each(store.sweep(now) for store in self._stores)

    async def seen(self) -> UnixTime | None:
        """The oldest: what another cluster has seen says nothing of an outage of this one."""
        seen = await asyncio.gather(*(store.seen() for store in self._stores))
        return min((each for each in seen if each is not None), default=None)

    async def prolong(self, since: UnixTime, now: UnixTime) -> None:
        await _each(store.prolong(since, now) for store in self._stores)

    async def ping(self) -> None:
        await _each(store.ping() for store in self._stores)


async def _done(doing: Awaitable[T]) -> tuple[T]:
    """An answer that is never taken for "there is none"."""
    return (await doing,)


async def _settle(
    store: PostgresStore, inbox: bytes, change: SettingsChange, admission: Admission | None, now: UnixTime
) -> tuple[bool]:
    return await _done(store.settle(inbox, change, admission=admission, now=now))


async def _each(doing: Iterable[Awaitable[None]]) -> None:
    """All of it, whatever fails; then the first failure is raised."""
    for outcome in await asyncio.gather(*doing, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


class ShardedOperating:
    """Implements `operating.Operating` over several clusters."""

    def __init__(
        self,
        stores: Sequence[PostgresStore],
        at: Callable[[bytes, Callable[[PostgresStore], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        self._stores = stores
        self._at = at

    @property
    def draining(self) -> bool:
        return any(store.operating.draining for store in self._stores)

    async def overview(self) -> Overview:
        all_of = await asyncio.gather(*(store.operating.overview() for store in self._stores))
        classes = zip(*(each.classes for each in all_of), strict=True)
        return Overview(
            tuple(
                SizeClass(same[0].least, *(sum(getattr(each, name) for each in same) for name in _COUNTED))
                for same in classes
            ),
            *(sum(getattr(each, name) for each in all_of) for name in _SUMMED),
        )

    async def look_up(self, inbox: bytes) -> Known:
        known: Known = await self._at(inbox, lambda store: store.operating.look_up(inbox))
        return known

    async def suspend(self, inbox: bytes) -> bool:
        return bool(await self._at(inbox, lambda store: store.operating.suspend(inbox)))

    async def resume(self, inbox: bytes) -> bool:
        return bool(await self._at(inbox, lambda store: store.operating.resume(inbox)))

    async def drop(self, inbox: bytes) -> bool:
        return bool(await self._at(inbox, lambda store: store.operating.drop(inbox)))

    async def set_quota(self, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
        return bool(await self._at(inbox, lambda store: store.operating.set_quota(inbox, entries, bytes)))

    async def invites(self, now: UnixTime) -> tuple[Invite, ...]:
        return await self._stores[0].operating.invites(now)

    async def revoke_invite(self, handle: str) -> int:
        return await self._stores[0].operating.revoke_invite(handle)

    async def drain(self, *, on: bool) -> bool:
        return any([await store.operating.drain(on=on) for store in self._stores])

    async def standby(self) -> Standby:
        """The worst of all clusters."""
        found = await asyncio.gather(*(store.operating.standby() for store in self._stores))
        return min(found, key=("unknown", "none", "in_sync").index)

    async def vacuum(self) -> int:
        return sum([await store.operating.vacuum() for store in self._stores])


_COUNTED = ("inboxes", "unread", "bytes")
_SUMMED = ("read", "nearly_full", "own_quotas", "suspended", "file_bytes", "free_bytes")
