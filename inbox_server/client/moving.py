"""Moving an inbox to another server, without losing a message and without reading one twice.

The order: claim the new inbox; publish the card, so that senders follow; shut the old inbox; carry over what is unread
(the owner may always deliver) and what was read (so that a late repeat stays read); when nothing more comes, delete the
old one. Nothing is acknowledged at the old inbox, or what was carried could not be told from what was read. Every step
may be repeated, so a move that was cut off anywhere is repeated whole.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.carrying import Carrying
from inbox_server.client.inbox import Inbox, InboxRefused, Patience, Sleep
from inbox_server.client.owning import Owning
from inbox_server.client.profile import Move, Profile

# A delivery that passed the door before it was shut may still wait for look-ups of names.
_UNDER_WAY_SECONDS: Final = 30
_MOST_WAIT_SECONDS: Final = 3600.0


class CannotMove(Exception):
    """The move cannot begin; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a move, for people; `carried` is how many entries so far."""

    text: str
    carried: int = 0


class Moving:
    def __init__(self, account: Account, owning: Owning, sleep: Sleep) -> None:
        self._account = account
        self._owning = owning
        self._sleep = sleep

    async def move(self, new: str, *, old: str | None = None, invite: str | None = None) -> AsyncIterator[Step]:
        """Every step as it is done. Raises `CannotMove`, and as `Inbox` and `Bucket` do; then repeat it."""
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
        await there.claim(settings)
        yield Step(f"claimed the inbox at {move.new}")
        if not move.is_published:
            await self._owning.publish(_replaced(self._account.profile.read().inboxes, move))
            self._change(replace(move, is_published=True))
        yield Step(f"published a card that names {', '.join(self._account.profile.read().inboxes)}")
        left = self._patient(move.old)
        try:
            async for step in self._empty(left, self._patient(move.new)):
                yield step
        except InboxRefused as refusal:  # a second move beside this one may have come to the end first
            if refusal.code != "no_inbox" or await _shown(left) is not None:
                raise
        self._account.profile.change(lambda profile: replace(profile.without_inbox(move.old), move=None))
        yield Step(f"deleted the inbox at {move.old}: moved")

    async def _begin(self, new: str, old: str | None) -> Move:
        """The move as it was begun before, or a new one, which is noted before anything is done."""
        profile = self._account.profile.read()
        if profile.move:
            if profile.move.new != new or old not in (None, profile.move.old):
                raise CannotMove(f"a move from {profile.move.old} to {profile.move.new} is not finished: repeat that")
            return profile.move
        old = old or _only(profile)
        if old not in profile.inboxes or old == new:
            raise CannotMove(f"{old} is not an inbox on the card that could be moved to {new}")
        move = Move(old, new, await self._settings(old, profile))
        self._change(move)
        return move

    async def _settings(self, old: str, profile: Profile) -> dict[str, Any]:
        """What to ask of the new inbox. Of lists a server tells only the length: they come from the profile."""
        shown = await _shown(self._account.own(old))
        if shown is None:
            return dict(profile.settings)
        settings: dict[str, Any] = {"retention": shown["retention"], "accept": shown["accept"]}
        for name in ("contacts", "blocked", "names"):
            known = list(profile.settings.get(name, ()))
            if len(known) != shown[name]:
                raise CannotMove(
                    f"{old} has {shown[name]} {name}, and the profile knows {len(known)}: the server keeps only hashes"
                    " of them. Set them anew first: inbox-server client publish --help"
                )
            settings[name] = known
        return settings

    async def _empty(self, old: Inbox, new: Inbox) -> AsyncIterator[Step]:
        if await _shown(old) is None:  # deleted before the move was cut off
            return
        await old.claim({"accept": "nobody"})
        yield Step(f"shut the inbox at {old.url}")
        carrying = Carrying(self._account, old, new)
        async for carried in carrying.unread():
            yield Step("carried over what is unread", carried)
        async for carried in carrying.changes():
            yield Step("carried over what was read", carried)
        yield Step(f"waiting {_UNDER_WAY_SECONDS} s for deliveries that were under way", carrying.carried)
        await self._sleep(_UNDER_WAY_SECONDS)
        async for carried in carrying.changes():
            yield Step("carried over what came meanwhile", carried)
        await old.forget()

    def _patient(self, url: str) -> Inbox:
        """A move is long, and servers have rates: it waits as long as they say."""
        return replace(self._account.own(url), patience=Patience(_MOST_WAIT_SECONDS, self._sleep))

    def _change(self, move: Move) -> None:
        self._account.profile.change(lambda profile: replace(profile, move=move))


async def _shown(inbox: Inbox) -> dict[str, Any] | None:
    """The inbox's settings; None when there is no such inbox (any more)."""
    try:
        return await inbox.settings()
    except InboxRefused as refusal:
        if refusal.code != "no_inbox":
            raise
        return None


def _is_done(profile: Profile, new: str, old: str | None) -> bool:
    """Whether nothing is left to do, as after a move that was cut off when all but its last word was said."""
    left = old in profile.inboxes if old else len(profile.inboxes) > 1
    return profile.move is None and new in profile.inboxes and not left


def _only(profile: Profile) -> str:
    if len(profile.inboxes) != 1:
        raise CannotMove("the card names none, or several inboxes: say which to move with --from")
    return profile.inboxes[0]


def _replaced(inboxes: tuple[str, ...], move: Move) -> tuple[str, ...]:
    return tuple(dict.fromkeys(move.new if url == move.old else url for url in inboxes))
