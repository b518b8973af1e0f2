"""Following the inboxes of a profile: one stream after another from each, and what comes put into one queue.

Each inbox has a follower of its own, which reconnects with full-jitter back-off and resumes where it stopped. Where a
proxy lets no stream through, the inbox is asked by held requests instead.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.feed_events import check_end, page_in
from inbox_server.client.inbox_api import Inbox, Sleep, back_off
from inbox_server.client.pages import Page, page_of
from inbox_server.client.profile_file import Profile
from inbox_server.client.reading import Reading
from inbox_server.client.refusals import InboxRefused, Silent, Unreachable
from inbox_server.client.reports import Connection

_STEADY_SECONDS: Final = 10.0  # a stream that lived this long was not a failure
_LIST_SECONDS: Final = 60.0  # how often an inbox is listed while its stream is refused
_HOLD_SECONDS: Final = 50  # proxies cut what is silent for a minute
_LOST_CURSOR: Final = ("cursor_gone", "bad_cursor")


@dataclass(frozen=True, slots=True)
class Came:
    """A page of one inbox. `is_list`: it is of a list of everything that is unread there; `is_start`: its first."""

    inbox: str
    page: Page
    is_start: bool
    is_list: bool


class Following:
    """`put` takes what comes, and waits while the program is slow. `stream_seconds`: how long one stream lasts, and
    with it one token; `silence_seconds`: after how long without a byte it counts as gone.
    """

    def __init__(
        self,
        account: Account,
        put: Callable[[Came | Connection], Awaitable[None]],
        sleep: Sleep,
        monotonic: Callable[[], float],
        *,
        stream_seconds: float,
        silence_seconds: float,
    ) -> None:
        self.up: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._account = account
        self._reading = Reading(account)
        self._put = put
        self._sleep = sleep
        self._monotonic = monotonic
        self._stream_seconds = stream_seconds
        self._silence_seconds = silence_seconds
        self._cursors: dict[str, str | None] = {}
        self._listing: set[str] = set()
        self._failed: set[str] = set()
        self._held: set[str] = set()

    @property
    def may_be_up(self) -> bool:
        """Whether an inbox is followed, or was not tried yet."""
        return bool(self.up) or not self.tasks.keys() <= self._failed

    def adjust(self) -> None:
        """Start to follow inboxes that the profile now names, and stop following the others."""
        sources = self._account.profile.read().sources
        for url in self.tasks.keys() - set(sources):
            self.tasks.pop(url).cancel()
        for url in set(sources) - self.tasks.keys():
            self.tasks[url] = asyncio.create_task(self._follow(url))

    async def _follow(self, url: str) -> None:
        """Reads one stream after another from an inbox, with growing pauses while it fails."""
        inbox, failures = self._account.own(url), 0
        self._cursors[url] = self._account.profile.read().cursors.get(url)
        while True:
            begun, retry_after, why, has_no_place = self._monotonic(), 0, "", False
            try:
                await self._reading.tell_if_taken(inbox)
                await (self._hold(inbox) if url in self._held else self._stream(inbox))
            except InboxRefused as refusal:
                if refusal.code in _LOST_CURSOR and self._cursors[url]:
                    self._lose_place(url)
                    continue
                why, retry_after, has_no_place = refusal.detail, refusal.retry_after or 0, refusal.status == 429
                if refusal.code == "no_inbox" and await self._has_left(url):
                    return
            except Unreachable as failure:
                why = str(failure)
            failures = 0 if self._monotonic() - begun >= _STEADY_SECONDS else failures + 1
            pause = retry_after + back_off(failures, self._account.random())
            if why:
                self.up.discard(url)
                self._failed.add(url)
                await self._put(Connection(url, is_up=False, detail=why, again_seconds=pause))
            await self._pause(inbox, pause, lists=has_no_place)

    async def _has_left(self, url: str) -> bool:
        """Whether an inbox that is gone was moved, here or by another device."""
        if taken := await self._reading.catch_up():
            moved = f"it was moved by another device: the card names {', '.join(taken)}"
            await self._put(Connection(url, is_up=False, detail=moved))
        self.adjust()
        return url not in self.tasks

    def _lose_place(self, url: str) -> None:
        """List everything again. The server may have been restored."""
        self._cursors[url] = None
        self._account.profile.change(partial(Profile.without_sheets, inbox=url))

    async def _pause(self, inbox: Inbox, seconds: float, *, lists: bool) -> None:
        """Wait. If the inbox refuses a stream because all places are taken, list its entries instead, if allowed."""
        while lists and seconds > 0 and await self._list(inbox):
            await self._sleep(min(seconds, _LIST_SECONDS))
            seconds -= _LIST_SECONDS
        if seconds > 0:
            await self._sleep(seconds)

    async def _list(self, inbox: Inbox) -> bool:
        """Report what is new from pages; returns whether the inbox allowed it."""
        try:
            while (await self._take(inbox, await page_of(inbox, self._cursors[inbox.url]))).more:
                pass
        except InboxRefused as refusal:
            if refusal.code in _LOST_CURSOR:
                self._lose_place(inbox.url)
            return False
        except Unreachable:
            return False
        return True

    async def _stream(self, inbox: Inbox) -> None:
        """One stream, until its time is over. Raises `InboxRefused` or `Unreachable` when it ends otherwise."""
        is_heard = False
        try:
            async with (
                asyncio.timeout(self._stream_seconds),
                contextlib.aclosing(inbox.events(self._cursors[inbox.url], self._silence_seconds)) as events,
            ):
                async for event in events:
                    is_heard = True
                    if event is None:
                        await self._tell_up(inbox.url)
                    elif event.kind == "end":
                        check_end(event)
                        return
                    elif event.kind == "state":
                        await self._take(inbox, page_in(inbox, event))
        except TimeoutError:
            return
        except Silent:
            if not is_heard:  # something on the way keeps answers until they are whole
                self._held.add(inbox.url)
            raise
        raise Unreachable(f"{inbox.url} cut the stream off")

    async def _hold(self, inbox: Inbox) -> None:
        """One request after another, and all but the first are held until there is news. Raises as `_stream`."""
        wait_seconds = 0
        while True:
            page = await page_of(inbox, self._cursors[inbox.url], wait_seconds=wait_seconds)
            await self._tell_up(inbox.url)
            await self._take(inbox, page)
            wait_seconds = _HOLD_SECONDS

    async def _take(self, inbox: Inbox, page: Page) -> Page:
        """The place moves on when the page was taken."""
        before = self._cursors[inbox.url]
        if before is None:
            self._listing.add(inbox.url)
        if page.notices or page.cursor != before:
            is_list = inbox.url in self._listing
            await self._put(Came(inbox.url, page, is_start=before is None, is_list=is_list))
        if not page.more:
            self._listing.discard(inbox.url)
        self._cursors[inbox.url] = page.cursor
        return page

    async def _tell_up(self, url: str) -> None:
        if url not in self.up:
            self.up.add(url)
            self._failed.discard(url)
            await self._put(Connection(url, is_up=True))
