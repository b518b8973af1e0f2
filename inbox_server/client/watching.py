"""Waiting for news: every inbox's events, merged, for as long as the program likes.

A cursor is kept only when the program has taken the news before it: after a crash it gets the last news again and loses
none.
"""

import asyncio
import contextlib
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.in_watch import InWatch
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.due import Due
from inbox_server.client.following import Came, Following
from inbox_server.client.inbox_api import STREAM_SECONDS, STREAM_SILENCE_SECONDS, Sleep
from inbox_server.client.profile_file import Profile
from inbox_server.client.publish import Publishing
from inbox_server.client.reading import Reading
from inbox_server.client.reports import (
    Arrived,
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
from inbox_server.clock import DAY_SECONDS, UnixTime

_MOST_KNOWN: Final = 20_000  # entries; more than the inboxes of one card hold at their default
_MOST_QUEUED: Final = 4  # pages; a slow program makes the servers wait
_TEND_SECONDS: Final = 60.0  # how often the outbox is checked, on average


@dataclass(frozen=True, slots=True)
class _Again:
    """Entries that could not be fetched when they were reported."""

    entries: tuple[Entry, ...]


class _Unread:
    """What each inbox lists, so that a whole list shows what was read meanwhile."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, UnixTime]] = {}
        self._lists: dict[str, set[str]] = {}

    def gone_from(self, came: Came, now: UnixTime) -> tuple[str, ...]:
        """What the inbox listed before and does not list any more, although it has not expired: once its list is whole.

        A list without a cursor takes the place of everything that was known of an inbox, but not of the others.
        """
        page, known = came.page, self._listed.setdefault(came.inbox, {})
        if came.is_start:
            self._lists[came.inbox] = set()
        gone: list[str] = []
        if came.is_list:
            self._lists[came.inbox].update(entry.id for entry in page.messages)
            if not page.more:
                listed = self._lists.pop(came.inbox)
                gone = [id for id, expires in known.items() if id not in listed and expires > now]
        known.update((entry.id, entry.expires) for entry in page.messages)
        for id in (*page.read, *gone, *itertools.islice(known, max(0, len(known) - _MOST_KNOWN))):
            known.pop(id, None)
        return tuple(id for id in gone if not any(id in listed for listed in self._listed.values()))


class Watching:
    """`stream_seconds` and `silence_seconds` are as for `Following`."""

    def __init__(
        self,
        account: Account,
        sleep: Sleep,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        stream_seconds: float = STREAM_SECONDS,
        silence_seconds: float = STREAM_SILENCE_SECONDS,
    ) -> None:
        self._account = account
        self._sleep = sleep
        self._reading = Reading(account)
        self._known: OrderedDict[str, None] = OrderedDict.fromkeys(account.profile.read().told)
        self._was_read: OrderedDict[str, None] = OrderedDict()
        self._renewing, self._sheets = (Due(monotonic, account.user.clock) for _ in range(2))
        self._twins = Twins(_MOST_KNOWN)
        self._unread = _Unread()
        self._queue: asyncio.Queue[Came | _Again | News] = asyncio.Queue(_MOST_QUEUED)
        self._following = Following(
            account,
            self._queue.put,
            sleep,
            monotonic,
            stream_seconds=stream_seconds,
            silence_seconds=silence_seconds,
        )
        self._missed: frozenset[str] = frozenset()
        self._rounds = 0
        self._in_watch = InWatch(account, monotonic)
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
                if not isinstance(came, Came):
                    yield came
                    continue
                all_news = self._news_of(came)
                if again := self._read_already(came):
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
            tasks = [tending, *self._following.tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self, tending: asyncio.Task[None]) -> Came | _Again | News:
        """The next item. If a task failed because of a bug, the watch ends with that error."""
        getting = asyncio.ensure_future(self._queue.get())
        try:
            done, _ = await asyncio.wait(
                [getting, tending, *self._following.tasks.values()], return_when=asyncio.FIRST_COMPLETED
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

    def _news_of(self, came: Came) -> list[News]:
        """The news of a page that no inbox has brought before."""
        self._reading.note_listed(came.inbox, came.page.messages if not came.page.swapped else ())
        self._reading.note_read(came.page.read)
        told: list[News] = [Notice(came.inbox, notice) for notice in came.page.notices]
        fresh = {entry.id: entry for entry in came.page.messages if entry.id not in self._known}
        told += [Arrived(entry) for entry in self._reading.merge({came.inbox: fresh}) if not self._twins.join(entry)]
        gone = self._unread.gone_from(came, self._account.own(came.inbox).now)
        told += [WasRead(id) for id in dict.fromkeys((*came.page.read, *gone)) if id not in self._was_read]
        for id in gone:  # nobody has said that it was read: if it is listed again, it is news
            self._known.pop(id, None)
        for known, ids in ((self._known, fresh), (self._known, came.page.read), (self._was_read, came.page.read)):
            known.update(dict.fromkeys(ids))
            while len(known) > _MOST_KNOWN:
                known.popitem(last=False)
        return told

    def _read_already(self, came: Came) -> tuple[str, ...]:
        """Entries listed as unread there that were read here, or as another entry of the same message."""
        # A restored server lists entries again that were read after the copy was made, also before this watch began.
        page, read = came.page, self._account.profile.read().remembered.read if came.is_list else {}
        again = [entry.id for entry in page.messages if entry.id in self._was_read or entry.id in read]
        for id in (*page.read, *(entry.id for entry in page.messages)):
            twins = self._twins.of(id)
            if any(twin in self._was_read for twin in twins):
                again += [twin for twin in twins if twin not in self._was_read]
        return tuple(dict.fromkeys(again))

    def _keep_cursor(self, came: Came) -> None:
        if came.inbox not in self._account.profile.read().sources:
            return  # a move has left this inbox in the meantime
        self._reading.mark(came.inbox, came.page.cursor)
        self._account.profile.change(lambda profile: profile.with_cursor(came.inbox, came.page.cursor))

    async def _tend(self) -> None:
        """Follow the inboxes in the profile, even when a move changes them, and deliver what waits in the outbox."""
        while True:
            await self._come_back()  # first, so that a watch with a count does not end before it
            self._following.adjust()
            await self._renew()
            await self._renew_sheets()
            for sent in await Sending(self._account).retry():
                await self._queue.put(sent)
            await self._look_elsewhere()
            await self._sleep(_TEND_SECONDS * (0.5 + self._account.random()))

    async def _look_elsewhere(self) -> None:
        """Read contacts' buckets while no inbox answers, and hold the inboxes against them now and then."""
        up = self._following.up
        if fresh := self._unknown(await self._in_watch.without_server(is_any_up=self._following.may_be_up) or ()):
            await self._queue.put(WithoutServer(len(fresh)))
        if up and (audit := await self._in_watch.audit(up)):
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
        if not self._renewing.is_now:
            return
        with contextlib.suppress(BucketFailed):
            seq = await Publishing(self._account).renew()
            self._renewing.wait(DAY_SECONDS)
            if seq is not None:
                await self._queue.put(Renewed(seq))

    async def _renew_sheets(self) -> None:
        """Send sheets of tickets when contacts are new, and look each day, or an hour after a fault, for others."""
        profile = self._account.profile.read()
        if not self._sheets.is_now and not is_due(profile, self._account.now):
            return
        self._sheets.wait(DAY_SECONDS)
        with contextlib.suppress(BucketFailed):
            seq = await Publishing(self._account).renew_sheets()
            if seq is not None:
                await self._queue.put(Renewed(seq))
        fault = self._account.profile.read().sealing.fault
        if fault:
            self._sheets.wait(EDITION_SECONDS)
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
