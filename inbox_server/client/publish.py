"""What an owner does: publishing the card, claiming inboxes and their settings, giving them up."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from inbox_server.client.account import Account, Action
from inbox_server.client.inbox_api import Inbox, InboxRefused
from inbox_server.client.own_card import OwnCardUnreadable, catch_up, published_card
from inbox_server.client.profile_file import Profile
from inbox_server.client.reports import Outcome
from inbox_server.client.tokens_and_cards import CARD_FILE, NO_CARD
from inbox_server.clock import DAY_SECONDS
from inbox_server.identity.names import is_origin

_MOST_INBOXES: Final = 3
_RENEW_SECONDS: Final = 60 * DAY_SECONDS  # of 400: time enough for whoever opens the app once in two months


async def shown(inbox: Inbox) -> dict[str, Any] | None:
    """The inbox's settings; None when there is no such inbox (any more)."""
    try:
        return await inbox.settings()
    except InboxRefused as refusal:
        if refusal.code != "no_inbox":
            raise
        return None


class Publishing:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def publish(self, inboxes: tuple[str, ...]) -> int:
        """Write the app key and a card that names these inboxes; its `seq`. Raises `BucketFailed` or ValueError.

        The `seq` is the time where that is more: one who lost the profile and the card still publishes what senders
        take for newer than what they saw. A profile without a card does not look for one before it has written: caches
        of buckets remember that a file is not there, and would hide the new one.
        """
        inboxes = tuple(dict.fromkeys(inboxes))
        if not 1 <= len(inboxes) <= _MOST_INBOXES or not all(map(is_origin, inboxes)):
            raise ValueError("a card names one to three inboxes, each an origin without a slash at the end")
        is_first = not self._account.profile.read().inboxes
        if not (is_first and await self._write_card(inboxes, after=0, is_first=True)):
            await self._write_card(inboxes, after=await self._published_seq())
        return self._account.profile.change(lambda profile: replace(profile, inboxes=inboxes)).seq

    async def renew(self) -> int | None:
        """Publish anew a card that ends within 60 days; its `seq`, or None when there is no need or it is not the time.

        Raises `BucketFailed`.
        """
        card = await published_card(self._account)
        if card is None or not await self._account.is_time_known():
            return None
        if card.expires - self._account.now > _RENEW_SECONDS:
            return None
        await catch_up(self._account)
        profile = self._account.profile.read()
        if profile.move or not profile.inboxes:
            return None
        return await self.publish(profile.inboxes)

    async def _write_card(self, inboxes: tuple[str, ...], *, after: int, is_first: bool = False) -> bool:
        """Whether it was written; the first is not, if one is there."""
        now = self._account.now
        # Counted before it is written: a number is never used for two cards.
        seq = self._account.profile.change(
            lambda profile: replace(profile, seq=max(profile.seq + 1, after + 1, now))
        ).seq
        return await self._account.user.publish(inboxes, seq=seq, now=now, is_first=is_first)

    async def _published_seq(self) -> int:
        try:
            card = await published_card(self._account)
        except OwnCardUnreadable:  # this one takes its place
            return 0
        return card.seq if card else 0

    async def claim(self, settings: Mapping[str, Any], inboxes: tuple[str, ...] | None) -> tuple[Outcome, ...]:
        """Claim each inbox, or change its settings; a member that is left out stays as it is.

        An inbox that is new is told what was last asked of the others too.
        """
        profile = self._account.profile.read()
        new: set[str] = set()

        async def claim(inbox: Inbox) -> Mapping[str, Any]:
            await inbox.capabilities()  # a URL that is no inbox server is told so, before anything is signed for it
            is_new = await shown(inbox) is None
            answer = await inbox.claim({**(profile.settings if is_new else {}), **settings})
            new.update([inbox.url] if is_new else ())
            return answer

        urls = profile.inboxes if inboxes is None else inboxes
        outcomes = await self._account.at_each(urls, claim)
        if any(outcome.state == "done" for outcome in outcomes):
            kept = {name: value for name, value in settings.items() if name != "invite"}
            self._account.profile.change(lambda profile: replace(profile, settings={**profile.settings, **kept}))
        return tuple(replace(each, code="claimed") if each.inbox in new else each for each in outcomes)

    async def settings(self) -> tuple[Outcome, ...]:
        """What each inbox shows its owner, in `answer`."""

        async def show(inbox: Inbox) -> Mapping[str, Any]:
            return await inbox.settings()

        return await self._account.at_each(self._account.profile.read().sources, show)

    async def at_inboxes(self, inboxes: tuple[str, ...] | None, action: Action) -> tuple[Outcome, ...]:
        """The same at these inboxes, or at all; it raises nothing of what they answer."""
        urls = self._account.profile.read().sources if inboxes is None else inboxes
        return await self._account.at_each(urls, action)

    async def forget(self, inboxes: tuple[str, ...] | None) -> tuple[Outcome, ...]:
        """Give inboxes up, all if none is named: off the card first, so that nobody delivers to what is gone."""
        listed = self._account.profile.read().inboxes
        urls = listed if inboxes is None else inboxes
        left = tuple(url for url in listed if url not in urls)
        if left != listed:
            await self._account.is_time_known()  # a new card is dated
            await (self.publish(left) if left else self._account.user.bucket.write(CARD_FILE, NO_CARD))
        outcomes = await self._account.at_each(urls, Inbox.forget)
        for outcome in outcomes:
            if outcome.state == "done":
                self._account.profile.change(partial(Profile.without_inbox, inbox=outcome.inbox))
        return outcomes
