"""Owners' sheets of tickets, by which their contacts deliver without a name."""

import asyncio

from inbox_server.clock import UnixTime
from inbox_server.config.config import Config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.protocol.tickets import parse_sheet
from inbox_server.protocol.tokens import read_owner_token
from inbox_server.store.contract import SettingsChange, Sheet, Store, no_inbox

_HASHED_AT_ONCE = 256  # of thousands: half a millisecond


class Sheets:
    """Takes sheets. One is a setting: its tokens are ordered with other settings'."""

    def __init__(self, store: Store, hashes: KeyedHash, config: Config) -> None:
        self._store = store
        self._hashes = hashes
        self._config = config

    async def keep(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused` or `Unavailable`; then no sheet was changed."""
        asked = parse_sheet(body, now=now)
        token = read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)
        inbox = self._hashes.inbox(token.key.address)
        if await self._store.settings(inbox) is None:  # before thousands of hashes
            raise no_inbox()
        sheet = Sheet(asked.week, await self._hashed(inbox, asked.ids))
        request = self._hashes.request("PUT tickets", body)
        change = SettingsChange(app=self._hashes.app(inbox, token.app), issued=token.issued, request=request)
        await self._store.keep_sheet(inbox, change, sheet, now=now)

    async def _hashed(self, inbox: bytes, ids: tuple[bytes, ...]) -> tuple[bytes, ...]:
        hashed: list[bytes] = []
        for start in range(0, len(ids), _HASHED_AT_ONCE):
            hashed += [self._hashes.ticket(inbox, id) for id in ids[start : start + _HASHED_AT_ONCE]]
            await asyncio.sleep(0)  # let others on
        return tuple(hashed)
