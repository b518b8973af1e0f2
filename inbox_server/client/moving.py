"""Moving an inbox to another server, without losing a message and without reading one twice.

The order: claim the new inbox; publish the card, so that senders follow; shut the old inbox; carry over what is unread
(the owner may always deliver) and what was read (so that a late repeat stays read); when nothing more comes, delete the
old one. At the old inbox, only what was read is acknowledged: otherwise nobody could tell what was read from what was
only carried. Every step may be repeated, so a move that was cut off is simply repeated from the start.
"""

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.audit.beginning import Beginnings
from inbox_server.client.inbox_api import Inbox, Patience, Sleep
from inbox_server.client.moving_entries import EntryMove
from inbox_server.client.own_card import catch_up, published_card
from inbox_server.client.profile_file import Move, Profile
from inbox_server.client.publish import Publishing, shown
from inbox_server.client.reading import Reading
from inbox_server.client.refusals import InboxRefused

# A delivery that was accepted before the inbox was shut may still wait for look-ups of names.
_UNDER_WAY_SECONDS: Final = 30


class CannotMove(Exception):
    """The move cannot begin; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a move, for people; `carried` is how many entries so far."""

    text: str
    carried: int = 0


Tell = Callable[[Step], None]


class Moving:
    """Calls `on_wait` as soon as a server's rate limit makes it wait."""

    def __init__(self, account: Account, publishing: Publishing, sleep: Sleep, on_wait: Tell | None = None) -> None:
        self._account = account
        self._publishing = publishing
        self._sleep = sleep
        self._on_wait = on_wait
        self._waiting: list[str] = []

    async def move(self, new: str, *, old: str | None = None, invite: str | None = None) -> AsyncIterator[Step]:
        """Yields each step once it is done. Raises `CannotMove`, or what `Inbox` and `Bucket` raise; then repeat it."""
        if taken := await catch_up(self._account):
            yield Step(f"another device has published a newer card, which names {', '.join(taken)}")
        if _is_done(self._account.profile.read(), new, old):
            yield Step(f"{new} has the inbox already: moved")
            return
        move = await self._begin(new, old)
        yield Step(f"moving from {move.old} to {move.new}")
        there = self._account.own(move.new)
        limits = (await there.capabilities())["limits"]
        settings = dict(move.settings) | ({"invite": invite} if invite else {})
        if "retention" in settings:
            settings["retention"] = min(settings["retention"], limits["max_retention_seconds"])
        beginnings, is_new = Beginnings(self._account), await shown(there) is None
        if is_new:
            beginnings.note(there)
        await there.claim(settings)
        if is_new:
            await beginnings.begin(there)
        self._change(move)  # only now: if `new` is not an inbox server or refuses, nothing has changed
        yield Step(f"claimed the inbox at {move.new}")
        if not move.is_published:
            await self._publishing.publish(_replaced(self._account.profile.read().inboxes, move))
            self._change(replace(move, is_published=True))
        yield Step(f"published a card that names {', '.join(self._account.profile.read().inboxes)}")
        if fault := self._account.profile.read().sealing.fault:
            yield Step(f"no tickets for your contacts: {fault}; what they send sealed waits until they sign it")
        left = self._patient(move.old)
        try:
            async for step in self._empty(left, self._patient(move.new)):
                yield step
        except InboxRefused as refusal:  # another move of the same inbox may have finished first
            if refusal.code != "no_inbox" or await shown(left) is not None:
                raise
        self._account.profile.change(lambda profile: replace(profile.without_inbox(move.old), move=None))
        yield Step(f"deleted the inbox at {move.old}: moved")

    async def abandon(self) -> Move | None:
        """Abandon a move while no sender follows it; returns the move. Raises `CannotMove` or `BucketFailed`.

        What was claimed at the new server stays.
        """
        profile = self._account.profile.read()
        if profile.move and await self._has_left(profile.move, profile):
            raise CannotMove(f"senders follow the card to {profile.move.new} already: finish that, then move back")
        self._account.profile.change(lambda profile: replace(profile, move=None))
        return profile.move

    async def _has_left(self, move: Move, profile: Profile) -> bool:
        """Whether a card without the old inbox has been published, even by a move that was cut off right after."""
        if move.is_published or move.old not in profile.inboxes:
            return True
        card = await published_card(self._account)
        return card is not None and move.old not in card.inboxes

    async def _begin(self, new: str, old: str | None) -> Move:
        """The move that was begun before, or a new one. Changes nothing."""
        profile = self._account.profile.read()
        if profile.move and profile.move.new == new and old in (None, profile.move.old):
            return profile.move
        if profile.move and await self._has_left(profile.move, profile):
            raise CannotMove(f"a move from {profile.move.old} to {profile.move.new} is not finished: repeat that")
        old = old or _only(profile)
        if old not in profile.inboxes or old == new:
            raise CannotMove(f"{old} cannot be moved to {new}: it is not an inbox on the card")
        return Move(old, new, await self._settings(old, profile))

    async def _settings(self, old: str, profile: Profile) -> dict[str, Any]:
        """The settings for the new inbox. Servers tell only how long lists are, so the lists come from the profile."""
        known = await shown(self._account.own(old))
        if known is None:
            return dict(profile.settings)
        settings: dict[str, Any] = {"retention": known["retention"], "accept": known["accept"]}
        for name in ("contacts", "blocked", "names"):
            listed = list(profile.settings.get(name, ()))
            if len(listed) != known[name]:
                raise CannotMove(
                    f"{old} has {known[name]} {name}, and the profile knows {len(listed)}: the server has only hashes"
                    " of them. Set them again first: inbox-server client publish --help"
                )
            settings[name] = listed
        return settings

    async def _empty(self, old: Inbox, new: Inbox) -> AsyncIterator[Step]:
        if await shown(old) is None:  # deleted before the move was cut off
            return
        await old.claim({"accept": "nobody"})
        await Reading(self._account).tell_read(old)  # else what was read here would be carried as unread
        yield Step(f"shut the inbox at {old.url}")
        entries = EntryMove(self._account, old, new)
        async for carried in entries.unread():
            yield Step("carried over what is unread", carried)
        async for carried in entries.changes():
            yield Step("carried over what was read", carried)
        yield Step(f"waiting {_UNDER_WAY_SECONDS} s for deliveries that were under way", entries.carried)
        await self._sleep(_UNDER_WAY_SECONDS)
        async for carried in entries.changes():
            yield Step("carried over what came meanwhile", carried)
        await Beginnings(self._account).end((old.url,))
        await old.forget()

    def _patient(self, url: str) -> Inbox:
        """A move is long, and servers limit rates by the hour: it waits whenever they ask, and reports that."""

        async def sleep(seconds: float) -> None:
            if self._on_wait and url not in self._waiting:  # only the first of several parallel deliveries reports it
                self._on_wait(Step(f"waiting {seconds:.0f} s, as {url} asks"))
            self._waiting.append(url)
            try:
                await self._sleep(seconds)
            finally:
                self._waiting.remove(url)

        return replace(self._account.own(url), patience=Patience(math.inf, sleep))

    def _change(self, move: Move) -> None:
        self._account.profile.change(lambda profile: replace(profile, move=move))


def _is_done(profile: Profile, new: str, old: str | None) -> bool:
    """Whether nothing is left to do, as after a move that was cut off just before its end."""
    left = old in profile.inboxes if old else len(profile.inboxes) > 1
    return profile.move is None and new in profile.inboxes and not left


def _only(profile: Profile) -> str:
    if len(profile.inboxes) != 1:
        raise CannotMove("the card names no inbox, or several: say which to move with --from")
    return profile.inboxes[0]


def _replaced(inboxes: tuple[str, ...], move: Move) -> tuple[str, ...]:
    return tuple(dict.fromkeys(move.new if url == move.old else url for url in inboxes))
