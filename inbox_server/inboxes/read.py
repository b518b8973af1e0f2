"""What an owner reads: the unread list and the change feed; and acknowledging. None of it needs the network.

The inbox is the address of the key that signed the token. Nothing else in a request can name one.
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inboxes.follow import Following
from inbox_server.lru import Lru
from inbox_server.protocol.feed_json import (
    PAGE_START,
    PART_ENTRIES,
    Asked,
    entries_json,
    page_end,
    page_json,
    parse_events_query,
    parse_page_query,
)
from inbox_server.protocol.requests import parse_ack
from inbox_server.protocol.tokens import OwnerToken, ReadTokens, read_owner_token
from inbox_server.store.contract import Cursor, Page, Store

_MOST_POLLS: Final = 4096  # about 1 KB each


@dataclass(frozen=True, slots=True)
class _Poll:
    """A poll that found nothing."""

    token: OwnerToken
    inbox: bytes
    end: Cursor
    answer: bytes


class Reading:
    """Answers owners' requests for what waits. `audience` is the server's public origin."""

    def __init__(self, store: Store, following: Following, hashes: KeyedHash, *, audience: str) -> None:
        self._store = store
        self._following = following
        self._hashes = hashes
        self._audience = audience
        self._tokens = ReadTokens(audience=audience)
        self._polls: Lru[bytes, _Poll] = Lru(_MOST_POLLS)

    def remembered(self) -> dict[str, float]:
        """How many tokens and answers are remembered."""
        return {"read_tokens": len(self._tokens), "polls": len(self._polls)}

    def poll(self, authorization: str | None, target: str, now: UnixTime) -> bytes | None:
        """The previous answer, if the same request found nothing and nothing has changed. Raises `Refused`.

        `target` is the path and query exactly as received.
        """
        poll = self._polls.get(_mark(authorization, target))
        if poll is None or self._store.end(poll.inbox) != poll.end:
            return None
        poll.token.check_clock(now)
        return poll.answer

    async def unread(
        self, authorization: str | None, target: str, query: Mapping[str, str], now: UnixTime
    ) -> bytes | AsyncGenerator[bytes, None]:
        """A page of the feed as JSON, in parts when it is long. Raises `Refused`."""
        asked = parse_page_query(query)
        token = self._tokens.read(authorization, now)
        inbox = self._hashes.inbox(token.key.address)
        first = replace(asked, limit=min(asked.limit, PART_ENTRIES))
        if asked.wait:
            page = await self._following.page(inbox, first, until=token.taken_until)
        else:
            page = await self._store.unread(inbox, after=asked.after, limit=first.limit, now=self._following.lapsing())
        if page.more and asked.limit > first.limit:
            return self._parts(inbox, page, asked)
        answer = page_json(page, with_read=asked.after is not None)
        is_empty = not (page.messages or page.read or page.notices)
        if not asked.wait and is_empty and page.cursor == self._store.end(inbox):
            self._polls.keep(_mark(authorization, target), _Poll(token, inbox, page.cursor, answer))
        return answer

    async def _parts(self, inbox: bytes, page: Page, asked: Asked) -> AsyncGenerator[bytes, None]:
        """A long page, starting with its first part. Only one part is in memory, however slowly the client reads.

        It ends early, with `more`, if the inbox is deleted or the disk fails. The next request learns why.
        """
        start, left, upto, read = PAGE_START, asked.limit, page.end, list[bytes]()
        while True:
            entries = entries_json(page.messages)
            read += page.read
            left -= len(page.messages) + len(page.read)
            page = replace(page, messages=(), read=())  # what was sent does not stay in memory during the wait
            if entries:
                yield start + entries
                start, entries = b",", b""
            if not page.more or not left:
                break
            try:
                limit = min(left, PART_ENTRIES)
                page = await self._store.unread(
                    inbox, after=page.cursor, limit=limit, now=self._following.lapsing(), upto=upto
                )
            except Refused:
                break
        yield (start if start == PAGE_START else b"") + page_end(page, read, with_read=asked.after is not None)

    def events(
        self, authorization: str | None, query: Mapping[str, str], last_event_id: str | None, now: UnixTime
    ) -> AsyncGenerator[bytes, None]:
        """The feed as server-sent events, until the token expires. Raises `Refused`, also before the first event."""
        asked = parse_events_query(query, last_event_id)
        token = self._tokens.read(authorization, now)
        return self._following.events(self._hashes.inbox(token.key.address), asked, until=token.taken_until)

    async def acknowledge(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused`."""
        ids = parse_ack(body)
        token = read_owner_token(authorization, body, scope="ack", audience=self._audience, now=now)
        await self._store.acknowledge(self._hashes.inbox(token.key.address), ids, now=now)


def _mark(authorization: str | None, target: str) -> bytes:
    """The key by which a repeated request is recognised; it contains no token."""
    return hashlib.sha256(f"{authorization} {target}".encode("utf-8", "surrogateescape")).digest()
