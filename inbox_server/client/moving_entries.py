"""Moving entries from one inbox of an owner to another: what is unread is delivered, what was read acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.pages import Listed, Page, page_of
from inbox_server.client.refusals import InboxRefused

# The old server's clock counts an entry's life, and we know that clock only as precisely as tokens need.
_CLOCK_SECONDS: Final = 60
_AT_ONCE: Final = 8
_TOLD_AFTER: Final = 50  # entries; a page has 1,000, and a rate limit may stretch it over minutes


class EntryMove:
    """`carried` counts the entries that are at the new inbox. Nothing changes at the old one."""

    def __init__(self, account: Account, old: Inbox, new: Inbox) -> None:
        self._account = account
        self._old = old
        self._new = new
        self._cursor: str | None = None
        self._delivered: set[str] = set()
        self._is_following = False

    @property
    def carried(self) -> int:
        return len(self._delivered)

    async def unread(self) -> AsyncIterator[int]:
        """Deliver the list from its start; yields the count so far from time to time."""
        while True:
            page = await page_of(self._old, self._cursor)
            async for carried in self._carry(page):
                yield carried
            self._cursor = page.cursor
            if not page.more:
                yield self.carried
                return

    async def changes(self) -> AsyncIterator[int]:
        """Carry changes until there are none: first everything that the old inbox remembers, even if read long ago."""
        if not self._is_following:
            self._cursor, self._is_following = await self._oldest_cursor(), True
        while True:
            page = await page_of(self._old, self._cursor)
            async for carried in self._carry(page):
                yield carried
            self._cursor = page.cursor
            if not page.messages and not page.read and not page.more:
                return
            yield self.carried

    async def _carry(self, page: Page) -> AsyncIterator[int]:
        """In this order, so that what was read after it came ends as read. Yields only if there is more to come."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def deliver(entry: Listed) -> None:
            async with gate:
                await self._deliver(entry)

        fresh = [entry for entry in page.messages if entry.id not in self._delivered]
        for start in range(0, len(fresh), _TOLD_AFTER):
            if start:
                yield self.carried
            await asyncio.gather(*map(deliver, fresh[start : start + _TOLD_AFTER]))
        if page.read:
            await self._new.acknowledge(list(page.read))

    async def _deliver(self, entry: Listed) -> None:
        """Deliver an entry with its remaining life; the `id` is the same at every server.

        No entry is skipped as expired: the old server would not have listed it.
        """
        key, ttl = self._account.user.key.public, max(entry.expires - self._old.now, 0) + _CLOCK_SECONDS
        await self._new.deliver(entry.message_id, sender=key, recipient=key, ttl=ttl)
        self._delivered.add(entry.id)

    async def _oldest_cursor(self) -> str | None:
        """The oldest that the old inbox still knows. Raises `InboxRefused`."""
        profile = self._account.profile.read()
        marks = profile.marks.get(self._old.url, {})
        for day in sorted(marks, key=int):
            try:
                await self._old.unread(marks[day], 1)
            except InboxRefused as refusal:
                if refusal.code not in ("cursor_gone", "bad_cursor"):
                    raise
            else:
                return marks[day]
        return self._cursor
