"""Claiming an inbox, changing its settings, and deleting it: what an owner does with a `settings` token."""

import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from inbox_server.clock import UnixTime
from inbox_server.config.config import Config
from inbox_server.errors import Refused
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.names import Address, Name
from inbox_server.inbox_log import FIRST_NUMBER_BYTES, HEAD_BYTES, LogPoint
from inbox_server.inboxes.on_host import OnHost
from inbox_server.protocol.requests import SettingsBody, bad_request, parse_settings
from inbox_server.protocol.tokens import OwnerToken, read_owner_token
from inbox_server.resolver.contract import Resolver, leads_to, unproven
from inbox_server.store.contract import Admission, Settings, SettingsChange, Store, no_inbox, notices_of
from inbox_server.store.operating import draining

_GENERATION_BYTES: Final = 8
_FIRST_CHANGE_BYTES: Final = 5  # room for 2^63 - 2^40 changes after it


class InboxSettings:
    """Answers owners' requests about their inbox. `random_bytes` is `secrets.token_bytes` outside tests.

    `channels` are the names of those to which owners can subscribe here.
    """

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        hashes: KeyedHash,
        config: Config,
        random_bytes: Callable[[int], bytes],
        channels: Collection[str],
        host: OnHost,
    ) -> None:
        self._store = store
        self._channels = channels
        self._resolver = resolver
        self._hashes = hashes
        self._config = config
        self._random_bytes = random_bytes
        self._host = host

    async def settings(self, authorization: str | None, now: UnixTime) -> dict[str, Any]:
        """The answer to `GET /v1/inbox`. Raises `Refused`."""
        token = read_owner_token(authorization, b"", scope="read", audience=self._config.public_url, now=now)
        return await self._answer(self._hashes.inbox(token.key.address))

    async def settle(self, authorization: str | None, body: bytes, now: UnixTime) -> tuple[bool, dict[str, Any]]:
        """Claim the inbox or change it: whether it is new, and the answer. Raises `Refused` or `Unavailable`."""
        asked = parse_settings(
            body, max_retention=self._config.max_retention_seconds, list_entries=self._config.list_entries
        )
        token = read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)
        inbox = self._hashes.inbox(token.key.address)
        self._host.forgotten.check(inbox, token.issued, now)
        change = self._change(inbox, token, asked, body)
        if await self._store.settings(inbox) is not None:
            await self._prove_names(token, asked.names or ())
            try:
                await self._store.settle(inbox, change, admission=None, now=now)
                return False, await self._answer(inbox)
            except Refused as refusal:
                if refusal.code != "no_inbox":  # deleted a moment ago: then this is a claim
                    raise
        if self._store.operating.draining:  # before anybody else's server is asked
            raise draining()
        admission = self._admission(token, asked)
        with self._opening(now):
            await self._prove_names(token, asked.names or ())
            new = await self._store.settle(inbox, change, admission=admission, now=now)
        return new, await self._answer(inbox)

    async def forget(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Delete the inbox and everything in it. Raises `Refused`."""
        if body:
            raise bad_request("body", "must be empty")
        token = read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)
        inbox = self._hashes.inbox(token.key.address)
        if await self._store.forget(inbox, issued=token.issued, request=self._hashes.request("DELETE", body)):
            self._host.forgotten.note(inbox, token.issued)

    def _opening(self, now: UnixTime) -> contextlib.AbstractContextManager[None]:
        """Count one new inbox for this hour, unless it fails. Raises `Refused` too_many."""
        if self._config.registration != "open":
            return contextlib.nullcontext()
        return self._host.opened.opening(now, self._config.open_per_hour)

    def _admission(self, token: OwnerToken, asked: SettingsBody) -> Admission:
        """The condition for giving this owner an inbox. Checks that need no look-up are made here. Raises `Refused`."""
        mode = self._config.registration
        invite = None
        if mode == "listed":
            self._check_listed(token, asked)
        elif mode == "invite":
            if asked.invite is None:
                raise Refused("not_registered", "This server needs an `invite` code; ask its operator for one.")
            invite = self._hashes.invite(asked.invite)
        else:
            self._check_open(asked)
        return Admission(
            generation=self._random_bytes(_GENERATION_BYTES),
            first_change=int.from_bytes(self._random_bytes(_FIRST_CHANGE_BYTES), "big"),
            first_log=LogPoint(
                int.from_bytes(self._random_bytes(FIRST_NUMBER_BYTES), "big"), self._random_bytes(HEAD_BYTES)
            ),
            default_retention=self._config.default_retention_seconds,
            max_inboxes=None if mode == "listed" else self._config.max_inboxes,
            invite=invite,
        )

    def _check_listed(self, token: OwnerToken, asked: SettingsBody) -> None:
        proving = {Name(name) for name in asked.names or ()}
        for listed in self._config.listed:
            if listed.apps is not None and token.app not in listed.apps:
                continue
            if listed.identity in proving or listed.identity in (token.key, Address(token.key.address)):
                return
        raise Refused(
            "not_registered",
            "This server accepts only listed identities: ask its operator to list your name or app public key,"
            " and send a listed name in `names`.",
        )

    def _check_open(self, asked: SettingsBody) -> None:
        if not asked.names and not self._config.open_to_keys:
            raise Refused("not_registered", "This server takes owners with a name: send it in `names`.")

    async def _prove_names(self, token: OwnerToken, names: tuple[str, ...]) -> None:
        for name in names:
            if not await leads_to(self._resolver, name, token.app, token.key.address):
                raise unproven("A name in `names` leads to an app key other than the one that signed.")

    def _change(self, inbox: bytes, token: OwnerToken, asked: SettingsBody, body: bytes) -> SettingsChange:
        def listed(addresses: tuple[str, ...] | None) -> tuple[bytes, ...] | None:
            return None if addresses is None else tuple(self._hashes.listed(inbox, each) for each in addresses)

        return SettingsChange(
            app=self._hashes.app(inbox, token.app),
            issued=token.issued,
            request=self._hashes.request("PUT", body),
            retention=asked.retention,
            accept=asked.accept,
            contacts=listed(asked.contacts),
            blocked=listed(asked.blocked),
            names=None if asked.names is None else tuple(self._hashes.name(name, token.app) for name in asked.names),
        )

    async def _answer(self, inbox: bytes) -> dict[str, Any]:
        settings = await self._store.settings(inbox)
        if settings is None:
            raise no_inbox()
        return settings_document(settings, self._config, self._channels)


def settings_document(settings: Settings, config: Config, channels: Iterable[str]) -> dict[str, Any]:
    """What an owner sees. Lists and names are kept as keyed hashes, so only their sizes are known."""
    return {
        "retention": settings.retention,
        "accept": settings.accept,
        "contacts": settings.contacts,
        "blocked": settings.blocked,
        "names": settings.names,
        "unread": settings.unread,
        "read": settings.read,
        "quota": {
            "entries": config.inbox_entries if settings.most_entries is None else settings.most_entries,
            "bytes": config.inbox_bytes if settings.most_bytes is None else settings.most_bytes,
            "bytes_used": settings.unread_bytes,
            "read_entries": config.inbox_read_entries,
        },
        "tickets": settings.sheets,
        **{channel: settings.subscriptions.get(channel, 0) for channel in channels},
        "notices": notices_of(refused=settings.refused, suspended=settings.suspended, gone=settings.gone),
    }
