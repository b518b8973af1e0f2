"""One identity at its inbox servers: the basis of every step of the client."""

import asyncio
import contextlib
import random as random_numbers
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inbox_server.client.http_sessions import Sessions
from inbox_server.client.inbox_api import NO_PATIENCE, Inbox, Patience
from inbox_server.client.outbox import Outbox
from inbox_server.client.profile_file import Profile
from inbox_server.client.receipts import Offers, offers_of
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.reports import Outcome
from inbox_server.client.sent_index import SentIndex
from inbox_server.client.storage import Keeper
from inbox_server.client.user import AppUser
from inbox_server.clock import UnixTime
from inbox_server.outgoing.guard import NotAllowed

_OFFERS_SECONDS: Final = 300  # how long a capability document may be cached

Action = Callable[[Inbox], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Account:
    """`random` returns numbers from 0 to 1, for back-off only."""

    user: AppUser
    sessions: Sessions
    profile: Keeper[Profile]
    outbox: Keeper[Outbox]
    patience: Patience = NO_PATIENCE
    random: Callable[[], float] = random_numbers.random
    _inboxes: dict[str, Inbox] = field(default_factory=dict)
    index: SentIndex = field(init=False)
    _offers: dict[str, tuple[UnixTime, Offers]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", SentIndex(self.user, self.profile, self.outbox))

    @property
    def now(self) -> UnixTime:
        """This machine's time, with the smallest correction that any own inbox asked so far requires."""
        skews = [inbox.skew for inbox in self._inboxes.values() if inbox.is_timed]
        return UnixTime(self.user.clock() + min(skews, key=abs, default=0))

    async def is_time_known(self, inboxes: Iterable[str] = ()) -> bool:
        """Whether an own inbox confirms `now`. Asks those in the profile, or these, if none has been asked yet."""

        async def ask(inbox: Inbox) -> None:
            await inbox.settings()

        if not any(inbox.is_timed for inbox in self._inboxes.values()):
            await self.at_each(self.profile.read().sources or inboxes, ask)
        return any(inbox.is_timed for inbox in self._inboxes.values())

    def own(self, url: str) -> Inbox:
        """One of the user's own inboxes. It is always the same object, because it remembers how wrong the clock is."""
        if url not in self._inboxes:
            self._inboxes[url] = Inbox(
                self.sessions.trusted, url, self.user.app, self.user.key, self.user.clock, self.patience
            )
        return self._inboxes[url]

    def others(self, url: str) -> Inbox:
        """A recipient's inbox, named by the recipient's card. Raises `Unreachable`."""
        if url in self.profile.read().inboxes:
            return self.own(url)
        try:
            session = self.sessions.to_stranger(url)
        except NotAllowed:
            raise Unreachable(
                f"{url} is not asked: it is not on the public web at the usual port (allow it in the profile)"
            ) from None
        return Inbox(session, url, self.user.app, self.user.key, lambda: self.now, self.patience)

    @contextlib.asynccontextmanager
    async def alone(self, url: str) -> AsyncIterator[Inbox]:
        """A recipient's inbox for one request on a connection of its own. Raises `Unreachable`."""
        is_own = url in self.profile.read().inboxes
        try:
            async with self.sessions.alone(url, is_trusted=is_own) as session:
                yield Inbox(session, url, self.user.app, self.user.key, lambda: self.now, self.patience)
        except NotAllowed:
            raise Unreachable(
                f"{url} is not asked: it is not on the public web at the usual port (allow it in the profile)"
            ) from None

    async def offers(self, inbox: Inbox, *, fresh: bool = False) -> Offers:
        """What the server says of receipts and logs, remembered for as long as the protocol allows.

        Raises `InboxRefused` or `Unreachable`.
        """
        now = self.user.clock()
        made, offers = self._offers.get(inbox.url, (UnixTime(0), Offers()))
        if fresh or inbox.url not in self._offers or not 0 <= now - made < _OFFERS_SECONDS:
            offers = offers_of(await inbox.capabilities())
            self._offers[inbox.url] = now, offers
        return offers

    async def at_each(self, urls: Iterable[str], action: Action) -> tuple[Outcome, ...]:
        """Do the same at several own inboxes at once. A failure at one does not affect the others."""
        return tuple(await asyncio.gather(*(self.at(url, action) for url in urls)))

    async def at(self, url: str, action: Action) -> Outcome:
        return await outcome_of(url, lambda: action(self.own(url)))


async def outcome_of(url: str, ask: Callable[[], Awaitable[Mapping[str, Any] | None]]) -> Outcome:
    """The result of asking one inbox, as a report instead of an exception."""
    try:
        return Outcome(url, "done", answer=await ask() or {})
    except InboxRefused as refusal:
        return Outcome(url, "refused" if refusal.is_final else "later", refusal.code, refusal.detail)
    except Unreachable as failure:
        return Outcome(url, "later", "unreachable", str(failure))
