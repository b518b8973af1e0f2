"""Waiting for news: every inbox's events, merged, for as long as the program likes.

Each inbox has a follower of its own, which reconnects with full-jitter back-off and resumes where it stopped. A cursor
is kept only when the program has taken the news before it: after a crash it gets the last news again and loses none.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.in_watch import InWatch
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.feed_events import check_end, page_in
from inbox_server.client.inbox_api import STREAM_SECONDS, Inbox, InboxRefused, Sleep, Unreachable, back_off
from inbox_server.client.profile_file import Profile
from inbox_server.client.publish import Publishing
from inbox_server.client.reading import Page, Reading, page_of
from inbox_server.client.reports import (
    Arrived,
    Connection,
    Entry,
    News,
    Notice,
    Renewed,
    SheetsWait,
    WasRead,
    WithoutServer,
)
from inbox_server.client.sending import Sending
from inbox_server.client.sheets import EDITION_SECONDS, is_due
from inbox_server.client.twins import Twins
from inbox_server.clock import DAY_SECONDS

_MOST_KNOWN: Final = 20_000  # entries; more than the inboxes of one card hold at their default
_MOST_QUEUED: Final = 4  # pages; a slow program makes the servers wait
_STEADY_SECONDS: Final = 10.0  # a stream that lived this long was not a failure
_LIST_SECONDS: Final = 60.0  # how often an inbox is listed while its stream is refused
_LOST_CURSOR: Final = ("cursor_gone", "bad_cursor")
_TEND_SECONDS: Final = 60.0  # how often the outbox is checked, on average


@dataclass(frozen=True, slots=True)
class _Came:
    """A page of one inbox; the queue's other items are news."""

    inbox: str
    page: Page


@dataclass(frozen=True, slots=True)
class _Again:
    """Entries that could not be fetched when they were reported."""

    entries: tuple[Entry, ...]


class Watching:
    """`stream_seconds`: how long one stream lasts, and with it one token."""

    def __init__(
        self,
        account: Account,
        sleep: Sleep,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        stream_seconds: float = STREAM_SECONDS,
    ) -> None:
        self._account = account
        self._sleep = sleep
        self._monotonic = monotonic
        self._stream_seconds = stream_seconds
        self._reading = Reading(account)
        self._known: OrderedDict[str, None] = OrderedDict.fromkeys(account.profile.read().told)
        self._was_read: OrderedDict[str, None] = OrderedDict()
        self._renew_at = self._sheets_at = 0.0
        self._twins = Twins(_MOST_KNOWN)
        self._cursors: dict[str, str | None] = {}
        self._up: set[str] = set()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._queue: asyncio.Queue[_Came | _Again | News] = asyncio.Queue(_MOST_QUEUED)
        self._missed: frozenset[str] = frozenset()
        self._rounds = 0
        self._in_watch = InWatch(account, monotonic)
        self._failed: set[str] = set()
        self._fault = ""

    async def news(self, *, count: int | None = None) -> AsyncGenerator[News, None]:
        """Yields news until it is closed, or until it has reported `count` entries and the caller has taken them."""
        told: list[str] = []
        left = count
        tending = asyncio.create_task(self._tend())
        try:
            while True:
                came = await self._next(tending)
                if isinstance(came, _Again):
                    for entry in self._still_missed(came):
                        yield Arrived(entry, is_again=True)
                    continue
                if not isinstance(came, _Came):
                    yield came
                    continue
                all_news = self._news_of(came)
                if again := self._read_already(came.page):
                    await self._reading.acknowledge(again)
                for news in all_news:
                    yield news
                    if isinstance(news, Arrived) and left is not None:
                        told += news.entry.ids
                        left -= 1
                        if not left:
                            self._account.profile.change(partial(Profile.with_told, ids=tuple(told)))
                            return
                self._keep_cursor(came)
        finally:
            tasks = [tending, *self._followers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self, tending: asyncio.Task[None]) -> _Came | _Again | News:
        """The next item. If a task failed because of a bug, the watch ends with that error."""
        getting = asyncio.ensure_future(self._queue.get())
        try:
            done, _ = await asyncio.wait(
                [getting, tending, *self._followers.values()], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if not getting.done():
                getting.cancel()
        if getting in done:
            return getting.result()
        for task in done:
            if not task.cancelled():  # a cancelled one is a follower that is no longer needed
                task.result()
        return await self._next(tending)

    def _news_of(self, came: _Came) -> list[News]:
        """The news of a page that no inbox has brought before."""
        self._reading.note_listed(came.inbox, came.page.messages)
        self._reading.note_read(came.page.read)
        told: list[News] = [Notice(came.inbox, notice) for notice in came.page.notices]
        fresh = {entry.id: entry for entry in came.page.messages if entry.id not in self._known}
        told += [Arrived(entry) for entry in self._reading.merge({came.inbox: fresh}) if not self._twins.join(entry)]
        told += [WasRead(id) for id in came.page.read if id not in self._was_read]
        for known, ids in ((self._known, fresh), (self._known, came.page.read), (self._was_read, came.page.read)):
            known.update(dict.fromkeys(ids))
            while len(known) > _MOST_KNOWN:
                known.popitem(last=False)
        return told

    def _read_already(self, page: Page) -> tuple[str, ...]:
        """Entries listed as unread there that were read here, or as another entry of the same message."""
        # A restored server lists entries again that were read after the copy was made.
        again = [entry.id for entry in page.messages if entry.id in self._was_read]
        for id in (*page.read, *(entry.id for entry in page.messages)):
            twins = self._twins.of(id)
            if any(twin in self._was_read for twin in twins):
                again += [twin for twin in twins if twin not in self._was_read]
        return tuple(dict.fromkeys(again))

    def _keep_cursor(self, came: _Came) -> None:
        if came.inbox not in self._account.profile.read().sources:
            return  # a move has left this inbox in the meantime
        self._reading.mark(came.inbox, came.page.cursor)
        self._account.profile.change(lambda profile: profile.with_cursor(came.inbox, came.page.cursor))

    async def _tend(self) -> None:
        """Follow the inboxes in the profile, even when a move changes them, and deliver what waits in the outbox."""
        while True:
            await self._come_back()  # first, so that a watch with a count does not end before it
            self._adjust()
            await self._renew()
            await self._renew_sheets()
            for sent in await Sending(self._account).retry():
                await self._queue.put(sent)
            await self._look_elsewhere()
            await self._sleep(_TEND_SECONDS * (0.5 + self._account.random()))

    async def _look_elsewhere(self) -> None:
        """Read contacts' buckets while no inbox answers, and hold the inboxes against them now and then."""
        is_any_up = bool(self._up) or not self._followers.keys() <= self._failed
        if fresh := self._unknown(await self._in_watch.without_server(is_any_up=is_any_up) or ()):
            await self._queue.put(WithoutServer(len(fresh)))
        if self._up and (audit := await self._in_watch.audit(self._up)):
            await self._queue.put(audit)
            fresh += self._unknown(audit.found)
        for entry in fresh:
            await self._queue.put(Arrived(entry, without_server=True))

    def _unknown(self, found: Iterable[Entry]) -> list[Entry]:
        """What was not reported before."""
        fresh = [entry for entry in found if entry.ids[0] not in self._known]
        self._known.update(dict.fromkeys(entry.ids[0] for entry in fresh))
        return fresh

    async def _renew(self) -> None:
        """Check once a day whether the own card expires soon; if the bucket fails, try again in the next round."""
        if self._monotonic() < self._renew_at:
            return
        with contextlib.suppress(BucketFailed):
            seq = await Publishing(self._account).renew()
            self._renew_at = self._monotonic() + DAY_SECONDS
            if seq is not None:
                await self._queue.put(Renewed(seq))

    async def _renew_sheets(self) -> None:
        """Send sheets of tickets when contacts are new, and look each day, or an hour after a fault, for others."""
        profile = self._account.profile.read()
        if self._monotonic() < self._sheets_at and not is_due(profile, self._account.now):
            return
        self._sheets_at = self._monotonic() + DAY_SECONDS
        with contextlib.suppress(BucketFailed):
            seq = await Publishing(self._account).renew_sheets()
            if seq is not None:
                await self._queue.put(Renewed(seq))
        fault = self._account.profile.read().sealing.fault
        if fault:
            self._sheets_at = self._monotonic() + EDITION_SECONDS
        if fault and fault != self._fault:
            await self._queue.put(SheetsWait(fault))
        self._fault = fault

    async def _come_back(self) -> None:
        """List entries that could not be fetched, in rounds 1, 2, 4, 8 and so on after the last failure."""
        missed = frozenset(self._account.profile.read().missed)
        self._rounds = self._rounds + 1 if missed == self._missed else 1
        self._missed = missed
        if not missed or self._rounds & (self._rounds - 1):
            return
        unread = await self._reading.unread()
        if len(unread.asked) == len(unread.outcomes):
            self._reading.forget_missed(missed.difference(*(entry.ids for entry in unread.entries)))
        if again := tuple(entry for entry in unread.entries if not missed.isdisjoint(entry.ids)):
            await self._queue.put(_Again(again))

    def _still_missed(self, again: _Again) -> Iterator[Entry]:
        for entry in again.entries:
            if not self._account.profile.read().missed.keys().isdisjoint(entry.ids):
                self._known.update(dict.fromkeys(entry.ids))
                yield entry

    def _adjust(self) -> None:
        """Start to follow inboxes that the profile now names, and stop following the others."""
        sources = self._account.profile.read().sources
        for url in self._followers.keys() - set(sources):
            self._followers.pop(url).cancel()
        for url in set(sources) - self._followers.keys():
            self._followers[url] = asyncio.create_task(self._follow(url))

    async def _follow(self, url: str) -> None:
        """Reads one stream after another from an inbox, with growing pauses while it fails."""
        inbox, failures = self._account.own(url), 0
        self._cursors[url] = self._account.profile.read().cursors.get(url)
        while True:
            begun, retry_after, why, has_no_place = self._monotonic(), 0, "", False
            try:
                await self._reading.tell_read(inbox)
                await self._stream(inbox)
            except InboxRefused as refusal:
                if refusal.code in _LOST_CURSOR and self._cursors[url]:
                    self._cursors[url] = None  # list again; known entries are not reported again
                    self._account.profile.change(partial(Profile.without_sheets, inbox=url))
                    continue
                why, retry_after, has_no_place = refusal.detail, refusal.retry_after or 0, refusal.status == 429
                if refusal.code == "no_inbox":  # it may have been moved, here or by another device
                    if taken := await self._reading.catch_up():
                        moved = f"it was moved by another device: the card names {', '.join(taken)}"
                        await self._queue.put(Connection(url, is_up=False, detail=moved))
                    self._adjust()
                    if url not in self._followers:
                        return
            except Unreachable as failure:
                why = str(failure)
            failures = 0 if self._monotonic() - begun >= _STEADY_SECONDS else failures + 1
            pause = retry_after + back_off(failures, self._account.random())
            if why:
                self._up.discard(url)
                self._failed.add(url)
                await self._queue.put(Connection(url, is_up=False, detail=why, again_seconds=pause))
            await self._pause(inbox, pause, lists=has_no_place)

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
            while True:
                page = await page_of(inbox, self._cursors[inbox.url])
                if page.messages or page.read or page.notices:
                    await self._queue.put(_Came(inbox.url, page))
                self._cursors[inbox.url] = page.cursor
                if not page.more:
                    return True
        except InboxRefused as refusal:
            if refusal.code in _LOST_CURSOR:
                self._cursors[inbox.url] = None
            return False
        except Unreachable:
            return False

    async def _stream(self, inbox: Inbox) -> None:
        """One stream, until its time is over. Raises `InboxRefused` or `Unreachable` when it ends otherwise."""
        try:
            async with (
                asyncio.timeout(self._stream_seconds),
                contextlib.aclosing(inbox.events(self._cursors[inbox.url])) as events,
            ):
                async for event in events:
                    if event is None:
                        await self._tell_up(inbox.url)
                    elif event.kind == "end":
                        check_end(event)
                        return
                    elif event.kind == "state":
                        page = page_in(inbox, event)
                        await self._queue.put(_Came(inbox.url, page))
                        self._cursors[inbox.url] = page.cursor
        except TimeoutError:
            return
        raise Unreachable(f"{inbox.url} cut the stream off")

    async def _tell_up(self, url: str) -> None:
        if url not in self._up:
            self._up.add(url)
            self._failed.discard(url)
            await self._queue.put(Connection(url, is_up=True))
