"""An owner's reading: the unread list, the change feed, and acknowledging. It never needs the network.

The inbox is the address of the key that signed the token; nothing else in a request can name one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inbox_server.base64url import NotBase64Url, decode, encode
from inbox_server.blind import Blinder
from inbox_server.bodies import bad_request, parse_ack
from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.recent import Recent
from inbox_server.store.contract import Cursor, Page, Store, Unread
from inbox_server.tokens import OwnerToken, ReadTokens, read_owner_token

DEFAULT_PAGE_ENTRIES: Final = 100
MAX_PAGE_ENTRIES: Final = 1000
_GENERATION_BYTES: Final = 8
_CHANGE_BYTES: Final = 8
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")  # printable ASCII without quote and backslash
_MOST_POLLS: Final = 4096  # about 1 KB each
_MOST: Final = (1 << 63) - 1  # SQLite's integers hold no more, and every inbox has less: refused there as ahead


@dataclass(frozen=True, slots=True)
class _Poll:
    """A request that found nothing."""

    token: OwnerToken
    inbox: bytes
    end: Cursor
    answer: bytes


class Reading:
    """Answers owners about what waits. `audience` is the server's public origin."""

    def __init__(self, store: Store, blinder: Blinder, *, audience: str) -> None:
        self._store = store
        self._blinder = blinder
        self._audience = audience
        self._tokens = ReadTokens(audience=audience)
        self._polls: Recent[bytes, _Poll] = Recent(_MOST_POLLS)

    def poll(self, authorization: str | None, target: str, now: UnixTime) -> bytes | None:
        """The answer once more, if this very request found nothing before and nothing changed. Raises `Refused`.

        `target` is the path and query as they came.
        """
        poll = self._polls.get(_mark(authorization, target))
        if poll is None or self._store.end(poll.inbox) is not poll.end:
            return None
        poll.token.check_clock(now)
        return poll.answer

    async def unread(self, authorization: str | None, target: str, query: Mapping[str, str], now: UnixTime) -> bytes:
        """A page of the feed as JSON. Raises `Refused`."""
        after, limit = _page_query(query)
        token = self._tokens.read(authorization, now)
        inbox = self._blinder.inbox(token.key.address)
        page = await self._store.unread(inbox, after=after, limit=limit, now=now)
        answer = _page_json(page, with_read=after is not None)
        if page.cursor is self._store.end(inbox):
            self._polls.keep(_mark(authorization, target), _Poll(token, inbox, page.cursor, answer))
        return answer

    async def acknowledge(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused`."""
        ids = parse_ack(body)
        token = read_owner_token(authorization, body, scope="ack", audience=self._audience, now=now)
        await self._store.acknowledge(self._blinder.inbox(token.key.address), ids, now=now)


def _mark(authorization: str | None, target: str) -> bytes:
    """What a request is known again by; it keeps no token."""
    return hashlib.sha256(f"{authorization} {target}".encode("utf-8", "surrogateescape")).digest()


def write_cursor(cursor: Cursor) -> str:
    numbers = (cursor.change, cursor.listed_at)
    return encode(cursor.generation + b"".join(number.to_bytes(_CHANGE_BYTES, "big") for number in numbers))


def parse_cursor(text: str) -> Cursor:
    """Raises `Refused` bad_cursor."""
    try:
        raw = decode(text)
    except NotBase64Url:
        raw = b""
    if len(raw) != _GENERATION_BYTES + 2 * _CHANGE_BYTES:
        raise Refused("bad_cursor", "`after` is not a cursor of this server. Send one as it was given.", member="after")
    change = int.from_bytes(raw[_GENERATION_BYTES:-_CHANGE_BYTES], "big")
    listed_at = int.from_bytes(raw[-_CHANGE_BYTES:], "big")
    return Cursor(raw[:_GENERATION_BYTES], min(change, _MOST), min(listed_at, _MOST))


def _page_query(query: Mapping[str, str]) -> tuple[Cursor | None, int]:
    if not query.keys() <= {"after", "limit"}:
        raise bad_request("query", "must hold nothing but after, limit")
    limit = query.get("limit", str(DEFAULT_PAGE_ENTRIES))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= MAX_PAGE_ENTRIES):
        raise bad_request("limit", f"must be a whole number from 1 to {MAX_PAGE_ENTRIES}")
    return parse_cursor(query["after"]) if "after" in query else None, int(limit)


def _page_json(page: Page, *, with_read: bool) -> bytes:
    """The page, put together from pieces that need no more encoding: for 100 entries a third of what `json` takes."""
    messages = ",".join([_entry_json(entry) for entry in page.messages])
    ids = ",".join([_quoted(encode(id)) for id in page.read])
    read = f',"read":[{ids}]' if with_read else ""
    more = "true" if page.more else "false"
    notices = f',"notices":{json.dumps(page.notices, separators=(",", ":"))}' if page.notices else ""
    return f'{{"messages":[{messages}]{read},"cursor":"{write_cursor(page.cursor)}","more":{more}{notices}}}'.encode()


def _entry_json(entry: Unread) -> str:
    return f'{{"id":"{encode(entry.id)}","message_id":{_quoted(entry.message_id)},"expires":{entry.expires}}}'


def _quoted(text: str) -> str:
    """A JSON string. What was delivered seldom needs escaping; what a failing disk made of it may."""
    return f'"{text}"' if _PLAIN.fullmatch(text) else json.dumps(text)
