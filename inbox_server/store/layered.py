"""A store with a layer over its keyed hashes: what callers know as a hash is stored encrypted under a later secret.

It stands before a store of any kind once the secret was rotated, and is not there before: see `identity/layer.py`.
"""

from collections.abc import Collection
from dataclasses import replace

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import Layer
from inbox_server.store.contract import (
    Admission,
    Changed,
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
    Store,
    Subscribed,
    Ticket,
    Totals,
)
from inbox_server.store.operating import Invite, Known, Operating, Overview, Standby


def shown(changed: Changed, layer: Layer) -> Changed:
    """What the store behind calls, so that `changed` is called with the inboxes that callers know."""

    def show(inboxes: Collection[bytes]) -> None:
        changed({layer.show(inbox) for inbox in inboxes})

    return show


class LayeredStore:
    """Implements `contract.Store` before another one."""

    def __init__(self, store: Store, layer: Layer) -> None:
        self._store = store
        self._layer = layer
        self._hide = layer.hide
        self.operating = LayeredOperating(store.operating, layer)

    async def proven(self, name: bytes) -> bytes | None:
        inbox = await self._store.proven(self._hide(name))
        return None if inbox is None else self._layer.show(inbox)

    async def policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        return self._shown_policy(await self._store.policy(self._hide(inbox), self._hide(sender)))

    def known_policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        return self._shown_policy(self._store.known_policy(self._hide(inbox), self._hide(sender)))

    def _shown_policy(self, policy: Policy | None) -> Policy | None:
        return policy and replace(policy, app=self._layer.show(policy.app))

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        return self._shown_policy(await self._store.ticket_policy(self._hide(inbox), self._hidden_ticket(ticket)))

    def known_ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        return self._shown_policy(self._store.known_ticket_policy(self._hide(inbox), self._hidden_ticket(ticket)))

    def _hidden_ticket(self, ticket: Ticket) -> Ticket:
        return ticket._replace(hash=self._hide(ticket.hash), mark=self._hide(ticket.mark))

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
        hidden = ticket and self._hidden_ticket(ticket)
        return await self._store.deliver(self._hide(inbox), id, message_id, expires=expires, now=now, ticket=hidden)

    async def unread(
        self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
    ) -> Page:
        return await self._store.unread(self._hide(inbox), after=after, limit=limit, now=now, upto=upto)

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        return await self._store.log(self._hide(inbox), after=after, limit=limit, now=now)

    def end(self, inbox: bytes) -> Cursor | None:
        return self._store.end(self._hide(inbox))

    def load(self) -> Load:
        return self._store.load()

    def limit(self, quota: Quota) -> None:
        self._store.limit(quota)

    async def totals(self) -> Totals:
        return await self._store.totals()

    async def acknowledge(self, inbox: bytes, ids: tuple[bytes, ...], *, now: UnixTime) -> None:
        await self._store.acknowledge(self._hide(inbox), ids, now=now)

    async def settings(self, inbox: bytes) -> Settings | None:
        return await self._store.settings(self._hide(inbox))

    async def settle(self, inbox: bytes, change: SettingsChange, *, admission: Admission | None, now: UnixTime) -> bool:
        if admission and admission.invite is not None:
            admission = replace(admission, invite=self._hide(admission.invite))
        return await self._store.settle(self._hide(inbox), self._hidden(change), admission=admission, now=now)

    async def forget(self, inbox: bytes, *, issued: UnixTime, request: bytes) -> bool:
        return await self._store.forget(self._hide(inbox), issued=issued, request=self._hide(request))

    async def subscribe(
        self, inbox: bytes, change: SettingsChange, subscription: Subscribed, *, most: int, now: UnixTime
    ) -> bool:
        kept = self._hidden_subscription(subscription)
        return await self._store.subscribe(self._hide(inbox), self._hidden(change), kept, most=most, now=now)

    async def unsubscribe(
        self, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, *, now: UnixTime
    ) -> None:
        id = self._hide(id) if id else id  # an empty one names no subscription
        await self._store.unsubscribe(self._hide(inbox), self._hidden(change), channel, id, now=now)

    async def subscriptions(self, inbox: bytes, channel: str) -> tuple[Subscribed, ...]:
        layer, stored = self._layer, await self._store.subscriptions(self._hide(inbox), channel)
        kept = (Subscribed(channel, layer.show(each.id), layer.show_sealed(each.sealed)) for each in stored)
        return tuple(sorted(kept, key=lambda each: each.id))  # as if there were no layer

    async def drop_subscription(self, inbox: bytes, subscription: Subscribed) -> None:
        await self._store.drop_subscription(self._hide(inbox), self._hidden_subscription(subscription))

    async def keep_sheet(self, inbox: bytes, change: SettingsChange, sheet: Sheet, *, now: UnixTime) -> None:
        hidden = replace(sheet, ids=tuple(map(self._hide, sheet.ids)))
        await self._store.keep_sheet(self._hide(inbox), self._hidden(change), hidden, now=now)

    async def sweep(self, now: UnixTime) -> None:
        await self._store.sweep(now)

    async def seen(self) -> UnixTime | None:
        return await self._store.seen()

    async def prolong(self, since: UnixTime, now: UnixTime) -> None:
        await self._store.prolong(since, now)

    async def ping(self) -> None:
        await self._store.ping()

    def _hidden(self, change: SettingsChange) -> SettingsChange:
        return replace(
            change,
            app=self._hide(change.app),
            request=self._hide(change.request),
            contacts=self._all_hidden(change.contacts),
            blocked=self._all_hidden(change.blocked),
            names=self._all_hidden(change.names),
        )

    def _all_hidden(self, hashes: tuple[bytes, ...] | None) -> tuple[bytes, ...] | None:
        return None if hashes is None else tuple(map(self._hide, hashes))

    def _hidden_subscription(self, subscription: Subscribed) -> Subscribed:
        layer = self._layer
        return Subscribed(subscription.channel, layer.hide(subscription.id), layer.hide_sealed(subscription.sealed))


class LayeredOperating:
    """Implements `operating.Operating` before another one."""

    def __init__(self, operating: Operating, layer: Layer) -> None:
        self._operating = operating
        self._layer = layer
        self._hide = layer.hide

    @property
    def draining(self) -> bool:
        return self._operating.draining

    async def overview(self) -> Overview:
        return await self._operating.overview()

    async def look_up(self, inbox: bytes) -> Known:
        return await self._operating.look_up(self._hide(inbox))

    async def suspend(self, inbox: bytes) -> bool:
        return await self._operating.suspend(self._hide(inbox))

    async def resume(self, inbox: bytes) -> bool:
        return await self._operating.resume(self._hide(inbox))

    async def drop(self, inbox: bytes) -> bool:
        return await self._operating.drop(self._hide(inbox))

    async def set_quota(self, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
        return await self._operating.set_quota(self._hide(inbox), entries, bytes)

    async def invites(self, now: UnixTime) -> tuple[Invite, ...]:
        shown = (Invite(self._layer.show(each.code), each.expires) for each in await self._operating.invites(now))
        return tuple(sorted(shown, key=lambda each: (each.expires, each.code)))

    async def revoke_invite(self, handle: str) -> int:
        codes = [each.code for each in await self.invites(UnixTime(0)) if each.code.hex().startswith(handle)]
        return await self._operating.revoke_invite(self._hide(codes[0]).hex()) if len(codes) == 1 else len(codes)

    async def drain(self, *, on: bool) -> bool:
        return await self._operating.drain(on=on)

    async def standby(self) -> Standby | None:
        return await self._operating.standby()

    async def vacuum(self) -> int:
        return await self._operating.vacuum()
