"""Following an inbox: one loop that waits for what is new, and its two encoders, a held answer and an event stream.

The loop enters the listening before it reads, and reads again whenever it was woken.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Final

from inbox_server.clock import Clock, UnixTime
from inbox_server.errors import Refused
from inbox_server.inboxes.wakeups import Listener, Wakes
from inbox_server.protocol.feed_json import Asked, AskedEvents, page_json, write_cursor
from inbox_server.store.contract import Cursor, Notice, Page, Store

PING_SECONDS: Final = 45  # proxies cut what is silent for a minute
_PING: Final = b": ping\n\n"
_NOTHING: Final = Page((), (), Cursor(b"", 0, 0), more=False)


class Following:
    """Waits for news on behalf of owners. What it reads from `clock` is how long their tokens are good."""

    def __init__(self, store: Store, wakes: Wakes, clock: Clock, *, ping_seconds: float = PING_SECONDS) -> None:
        self._store = store
        self._wakes = wakes
        self._clock = clock
        self._ping_seconds = ping_seconds

    async def page(self, inbox: bytes, asked: Asked, *, until: UnixTime) -> Page:
        """The page that was asked for, held while nothing is in it: for `asked.wait` seconds, and not after `until`.

        Raises `Refused`.
        """
        with self._wakes.listening(inbox) as listener:
            seconds = min(asked.wait, until - self._clock())
            page, _ = await self._next(listener, inbox, asked.after, asked.limit, seconds)
            return page

    async def events(self, inbox: bytes, asked: AskedEvents, *, until: UnixTime) -> AsyncGenerator[bytes, None]:
        """The feed as server-sent events. Raises `Refused` in place of the first; later, the last event tells it.

        The last event says why the stream ends: `closeafter`, `stopping`, `token_expired`, or a refusal's code.
        """
        with self._wakes.listening(inbox) as listener:
            # Notices are told at first, whether or not an earlier stream told them; and so is a cursor to who has none.
            page, new = await self._next(listener, inbox, asked.after, asked.limit, 0, told=())
            event = _state(page, with_read=asked.after is not None) if new or asked.after is None else _PING
            while True:
                cursor, told, has_entries = page.cursor, page.notices, bool(page.messages or page.read)
                yield event
                event, page = _PING, _NOTHING  # nothing that was told stays in memory while this waits
                if reason := self._reason_to_end(listener, until, closes=asked.closes and has_entries):
                    break
                seconds = min(self._ping_seconds, until - self._clock())
                try:
                    page, new = await self._next(listener, inbox, cursor, asked.limit, seconds, told=told)
                except Refused as refusal:
                    reason = refusal.code
                    break
                event = _state(page, with_read=True) if new else _PING
            yield _event("end", json.dumps({"reason": reason}, separators=(",", ":")).encode())

    async def _next(
        self,
        listener: Listener,
        inbox: bytes,
        after: Cursor | None,
        limit: int,
        seconds: float,
        told: tuple[Notice, ...] | None = None,
    ) -> tuple[Page, bool]:
        """The next page, and whether anything in it is new; when nothing is after `seconds`, it is as it was last read.

        `told` are the notices that the reader knows; None are those of the first reading.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            listener.listen()
            page = await self._store.unread(inbox, after=after, limit=limit, now=self._clock())
            told = page.notices if told is None else told
            new = bool(page.messages or page.read or set(page.notices) - set(told))
            if new or not await listener.changed(end - loop.time()):
                return page, new

    def _reason_to_end(self, listener: Listener, until: UnixTime, *, closes: bool) -> str | None:
        if closes:
            return "closeafter"
        if listener.stopping:
            return "stopping"
        return "token_expired" if until <= self._clock() else None


def _state(page: Page, *, with_read: bool) -> bytes:
    return _event("state", page_json(page, with_read=with_read), id=write_cursor(page.cursor))


def _event(name: str, content: bytes, *, id: str | None = None) -> bytes:
    """One server-sent event, as the HTML standard has it; `content` is JSON on one line."""
    head = f"id: {id}\nevent: {name}\n" if id else f"event: {name}\n"
    return head.encode() + b"data: " + content + b"\n\n"
