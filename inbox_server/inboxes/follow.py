"""Following an inbox: one loop that waits for changes, and two encoders for it: long polling and an event stream.

The loop starts to listen before it reads, and reads again each time it is woken.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Final

from inbox_server.clock import Clock, UnixTime
from inbox_server.errors import Refused
from inbox_server.inboxes.wakeups import Listener, Wakeups
from inbox_server.protocol.feed_json import Asked, AskedEvents, page_json, write_cursor
from inbox_server.store.contract import Cursor, Page, Store

PING_SECONDS: Final = 45  # proxies close a connection that is silent for a minute
_PING: Final = b": ping\n\n"
_RETRY_MILLISECONDS: Final = 10_000  # for libraries that reconnect by themselves; most default to 1 to 3 seconds
_SPREAD_FROM_MILLISECONDS: Final = 2_000  # so that clients do not all reconnect in the same second after a restart
_NOTHING: Final = Page((), (), Cursor(b"", 0, 0), more=False)


class Following:
    """Waits for changes on behalf of owners. Tokens are checked against `clock`. Entries expire by `lapsing`, which
    is the same clock unless it is given."""

    def __init__(
        self,
        store: Store,
        wakeups: Wakeups,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        lapsing: Clock | None = None,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self.lapsing = lapsing or clock
        self._store = store
        self._wakeups = wakeups
        self._clock = clock
        self._random_bytes = random_bytes
        self._ping_seconds = ping_seconds

    async def page(self, inbox: bytes, asked: Asked, *, until: UnixTime) -> Page:
        """The requested page. While it is empty, hold the answer: at most `asked.wait` seconds, and not past `until`.

        Raises `Refused`.
        """
        with self._wakeups.listening(inbox) as listener:
            seconds = min(asked.wait, until - self._clock())
            page, _ = await self._next(listener, inbox, asked.after, asked.limit, seconds)
            return page

    async def events(self, inbox: bytes, asked: AskedEvents, *, until: UnixTime) -> AsyncGenerator[bytes, None]:
        """The feed as server-sent events. Raises `Refused` before the first; later, the last event says so instead.

        The last event says why the stream ends: `closeafter`, `stopping`, `replaced`, `token_expired`, or a refusal's
        code. The first `state` and the last event tell libraries when to ask again.
        """
        with self._wakeups.listening(inbox, yields=True) as listener:
            # Send notices first, even if an earlier stream sent them, and a cursor to a client that has none.
            page, new = await self._next(listener, inbox, asked.after, asked.limit, 0, told=())
            is_told = new or asked.after is None
            event = self._state(page, with_read=asked.after is not None, is_first=True) if is_told else _PING
            while True:
                cursor, told, has_entries = page.cursor, page.notices, bool(page.messages or page.read)
                yield event
                event, page = _PING, _NOTHING  # nothing that was sent stays in memory during the wait
                if reason := self._reason_to_end(listener, until, closes=asked.closes and has_entries):
                    break
                seconds = min(self._ping_seconds, until - self._clock())
                try:
                    page, new = await self._next(listener, inbox, cursor, asked.limit, seconds, told=told)
                except Refused as refusal:
                    reason = refusal.code
                    break
                if new:
                    event, is_told = self._state(page, with_read=True, is_first=not is_told), True
            content = json.dumps({"reason": reason}, separators=(",", ":")).encode()
            yield _event("end", content, retry=self._retry() if reason == "stopping" else _RETRY_MILLISECONDS)

    async def _next(
        self,
        listener: Listener,
        inbox: bytes,
        after: Cursor | None,
        limit: int,
        seconds: float,
        told: tuple[str, ...] | None = None,
    ) -> tuple[Page, bool]:
        """The next page, and whether anything in it is new. If nothing is after `seconds`, it is the last page read.

        `told` are the notices that the reader knows; None means those of the first read.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            listener.listen()
            page = await self._store.unread(inbox, after=after, limit=limit, now=self.lapsing())
            told = page.notices if told is None else told
            new = bool(page.messages or page.read or set(page.notices) - set(told))
            if new or not await listener.changed(end - loop.time()):
                return page, new

    def _reason_to_end(self, listener: Listener, until: UnixTime, *, closes: bool) -> str | None:
        if closes:
            return "closeafter"
        if listener.ended:
            return listener.ended
        return "token_expired" if until <= self._clock() else None

    def _state(self, page: Page, *, with_read: bool, is_first: bool) -> bytes:
        content, cursor = page_json(page, with_read=with_read), write_cursor(page.cursor)
        return _event("state", content, id=cursor, retry=self._retry() if is_first else None)

    def _retry(self) -> int:
        """When to reconnect after the server stopped, or was killed and could not say so: random, in milliseconds."""
        spread = _RETRY_MILLISECONDS - _SPREAD_FROM_MILLISECONDS
        return _SPREAD_FROM_MILLISECONDS + int.from_bytes(self._random_bytes(4), "big") % (spread + 1)


def _event(name: str, content: bytes, *, id: str | None = None, retry: int | None = None) -> bytes:
    """One server-sent event, as the HTML standard has it; `content` is JSON on one line.

    `retry` is in milliseconds. It is never in a block of its own: some libraries deliver that as an event without data.
    """
    head = f"id: {id}\n" if id else ""
    pause = "" if retry is None else f"retry: {retry}\n"
    return f"{head}event: {name}\n{pause}data: ".encode() + content + b"\n\n"
