"""Push subscriptions: where an owner wants to be notified that something waits."""

import contextlib
from dataclasses import replace
from typing import Any

from yarl import URL

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.config.config import Config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.notify.sealing import NotOurs, Sealer
from inbox_server.protocol.push_subscription import Subscription
from inbox_server.protocol.requests import MAX_SUBSCRIPTIONS, parse_subscription, parse_unsubscription
from inbox_server.protocol.tokens import OwnerToken, read_owner_token
from inbox_server.store.contract import SettingsChange, Store, Subscribed, no_inbox


class Subscriptions:
    """Adds and deletes subscriptions. A subscription is a setting: its tokens are ordered with other settings'."""

    def __init__(self, store: Store, hashes: KeyedHash, sealer: Sealer, config: Config) -> None:
        self._store = store
        self._hashes = hashes
        self._sealer = sealer
        self._config = config

    async def subscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused`."""
        asked = parse_subscription(body, allow=self._config.outgoing_allow)
        subscription = replace(asked, since=UnixTime(now // DAY_SECONDS * DAY_SECONDS))
        token = self._read_token(authorization, body, now)
        inbox = self._hashes.inbox(token.key.address)
        kept = Subscribed(self._hashes.endpoint(inbox, subscription.endpoint), self._sealer.seal(subscription, inbox))
        change = self._change(inbox, token, "PUT push", body)
        await self._store.subscribe(inbox, change, kept, most=MAX_SUBSCRIPTIONS, now=now)

    async def subscriptions(self, authorization: str | None, now: UnixTime) -> dict[str, Any]:
        """The answer to `GET /v1/inbox/push`: enough to tell subscriptions apart, not to push. Raises `Refused`."""
        token = read_owner_token(authorization, b"", scope="read", audience=self._config.public_url, now=now)
        inbox = self._hashes.inbox(token.key.address)
        if await self._store.settings(inbox) is None:
            raise no_inbox()
        listed = sorted((each for _, each in await self._opened(inbox)), key=lambda each: (each.since, each.short_id))
        return {"subscriptions": [_subscription_document(each) for each in listed]}

    async def unsubscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Delete the subscription with this endpoint or short id, or all of them. Raises `Refused`."""
        named = parse_unsubscription(body)
        token = self._read_token(authorization, body, now)
        inbox = self._hashes.inbox(token.key.address)
        id = None
        if named and named.endpoint is not None:
            id = self._hashes.endpoint(inbox, named.endpoint)
        elif named:
            id = next((kept.id for kept, each in await self._opened(inbox) if each.short_id == named.short_id), b"")
        await self._store.unsubscribe(inbox, self._change(inbox, token, "DELETE push", body), id, now=now)

    async def _opened(self, inbox: bytes) -> list[tuple[Subscribed, Subscription]]:
        """The inbox's subscriptions. One that cannot be decrypted is left out; the next notification logs it."""
        opened = []
        for kept in await self._store.subscriptions(inbox):
            with contextlib.suppress(NotOurs):
                opened.append((kept, self._sealer.open(kept.sealed, inbox)))
        return opened

    def _read_token(self, authorization: str | None, body: bytes, now: UnixTime) -> OwnerToken:
        return read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)

    def _change(self, inbox: bytes, token: OwnerToken, request: str, body: bytes) -> SettingsChange:
        """A change of no other setting: it only records that this token was used."""
        return SettingsChange(
            app=self._hashes.app(inbox, token.app), issued=token.issued, request=self._hashes.request(request, body)
        )


def _subscription_document(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.short_id,
        "service": str(URL(subscription.endpoint).origin()),
        "since": subscription.since,
    }
