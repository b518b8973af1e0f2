"""Where an owner wants to be told that something waits, by whatever channel."""

import contextlib
from dataclasses import replace
from typing import Any

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.config.config import Config
from inbox_server.errors import Refused
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.notify.channel import Address, OwnerChannel
from inbox_server.notify.sealing import NotOurs, Sealer
from inbox_server.protocol.requests import parse_unsubscription
from inbox_server.protocol.tokens import OwnerToken, read_owner_token
from inbox_server.store.contract import SettingsChange, Store, Subscribed, no_inbox


class Subscriptions:
    """Adds and deletes the addresses of one channel.

    A subscription is a setting: its tokens are ordered with other settings'.
    """

    def __init__(self, channel: OwnerChannel, sealer: Sealer, store: Store, hashes: KeyedHash, config: Config) -> None:
        self.channel = channel
        self._kind = channel.kind
        self._sealer = sealer
        self._store = store
        self._hashes = hashes
        self._config = config

    async def subscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused` or `Unavailable`."""
        asked = self.channel.parse(body)
        address = replace(asked, since=UnixTime(now // DAY_SECONDS * DAY_SECONDS))
        token = self._read_token(authorization, body, now)
        inbox = self._hashes.inbox(token.key.address)
        if await self._store.settings(inbox) is None:  # before anybody else's server is asked
            raise no_inbox()
        await self.channel.admit(address)
        kept = Subscribed(self._kind.name, self._id(inbox, address.where), self._sealer.seal(address, inbox))
        change = self._change(inbox, token, "PUT", body)
        if not await self._store.subscribe(inbox, change, kept, most=self._kind.most, now=now):
            raise self._too_many()

    async def subscriptions(self, authorization: str | None, now: UnixTime) -> dict[str, Any]:
        """The answer to `GET`: enough to tell subscriptions apart, not to use them. Raises `Refused`."""
        token = read_owner_token(authorization, b"", scope="read", audience=self._config.public_url, now=now)
        inbox = self._hashes.inbox(token.key.address)
        if await self._store.settings(inbox) is None:
            raise no_inbox()
        listed = sorted((each for _, each in await self._opened(inbox)), key=lambda each: (each.since, each.short_id))
        return {"subscriptions": [self._document(each) for each in listed]}

    async def unsubscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Delete the subscription with this address or short id, or all of them. Raises `Refused`."""
        named = parse_unsubscription(body, self._kind.member)
        token = self._read_token(authorization, body, now)
        inbox = self._hashes.inbox(token.key.address)
        id = None
        if named:
            asked = (named.where, named.short_id)
            opened = await self._opened(inbox)
            id = next((kept.id for kept, each in opened if asked in ((each.where, None), (None, each.short_id))), b"")
        change = self._change(inbox, token, "DELETE", body)
        await self._store.unsubscribe(inbox, change, self._kind.name, id, now=now)

    async def _opened(self, inbox: bytes) -> list[tuple[Subscribed, Address]]:
        """The inbox's addresses. One that cannot be decrypted is left out; the next notification logs it."""
        opened = []
        for kept in await self._store.subscriptions(inbox, self._kind.name):
            with contextlib.suppress(NotOurs):
                opened.append((kept, self._sealer.open(kept.sealed, inbox)))
        return opened

    def _id(self, inbox: bytes, where: str) -> bytes:
        """What has the same id takes its place."""
        return self._hashes.endpoint(inbox, where if self._kind.most > 1 else "")

    def _too_many(self) -> Refused:
        member, route = self._kind.member, f"/v1/inbox/{self._kind.name}"
        detail = (
            f"`{member}` is one more than the {self._kind.most} subscriptions that an inbox may have. List them with"
            f" `GET {route}`, and drop a stale one with `DELETE {route}` and its `id`."
        )
        return Refused("bad_request", detail, member=member)

    def _document(self, address: Address) -> dict[str, Any]:
        return {"id": address.short_id, "service": self.channel.service(address), "since": address.since}

    def _read_token(self, authorization: str | None, body: bytes, now: UnixTime) -> OwnerToken:
        return read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)

    def _change(self, inbox: bytes, token: OwnerToken, method: str, body: bytes) -> SettingsChange:
        """A change of no other setting: it only records that this token was used."""
        request = self._hashes.request(f"{method} {self._kind.name}", body)
        return SettingsChange(app=self._hashes.app(inbox, token.app), issued=token.issued, request=request)
