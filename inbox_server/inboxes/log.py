"""The log of an inbox, as its owner is shown it: entries, and a signed base and head."""

from collections.abc import Mapping
from typing import Any

from inbox_server.clock import UnixTime
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_TYPE
from inbox_server.protocol.log_json import log_json, parse_log_query, point_document
from inbox_server.protocol.signed import write_signed
from inbox_server.protocol.tokens import ReadTokens
from inbox_server.store.contract import LogPage, Store


class Logs:
    """Answers owners' requests for their logs, signed as the server at `origin`."""

    def __init__(self, store: Store, hashes: KeyedHash, key: SigningKey, *, origin: str) -> None:
        self._store = store
        self._hashes = hashes
        self._key = key
        self._origin = origin
        self._tokens = ReadTokens(audience=origin)

    async def read(self, authorization: str | None, query: Mapping[str, str], now: UnixTime) -> bytes:
        """The answer to `GET /v1/inbox/log`. Raises `Refused`."""
        asked = parse_log_query(query)
        token = self._tokens.read(authorization, now)
        inbox = self._hashes.inbox(token.key.address)
        page = await self._store.log(inbox, after=asked.after, limit=asked.limit, now=now)
        return log_json(page, self._signed(page, token.key.address, asked.nonce, now))

    def _signed(self, page: LogPage, address: str, nonce: str, now: UnixTime) -> str:
        claims: dict[str, Any] = {
            "iss": self._origin,
            "sub": address,
            "base": point_document(page.base),
            "head": point_document(page.head),
            "nonce": nonce,
            "iat": now,
        }
        if page.restored is not None:
            claims["restored"] = page.restored
        return write_signed(self._key.sign, claims, HEAD_TYPE)
