"""What an owner does: publishing the card, claiming inboxes and their settings, giving them up."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.inbox import Inbox
from inbox_server.client.profile import Profile
from inbox_server.client.protocol import CARD_FILE, NO_CARD, BadCard, read_card
from inbox_server.client.reports import Outcome
from inbox_server.identities import is_origin

_MOST_INBOXES: Final = 3


class Owning:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def publish(self, inboxes: tuple[str, ...]) -> int:
        """Write the app key and a card that names these inboxes; its `seq`. Raises `BucketFailed` or ValueError.

        The `seq` is the time where that is more: one who lost the profile and the card still publishes what senders
        take for newer than what they saw.
        """
        inboxes = tuple(dict.fromkeys(inboxes))
        if not 1 <= len(inboxes) <= _MOST_INBOXES or not all(map(is_origin, inboxes)):
            raise ValueError("a card names one to three inboxes, each an origin without a slash at the end")
        published, now = await self._published_seq(), self._account.now
        # Counted before it is written: a number is never used for two cards.
        profile = self._account.profile.change(
            lambda profile: replace(profile, seq=max(profile.seq + 1, published + 1, now))
        )
        await self._account.user.publish(inboxes, seq=profile.seq, now=now)
        self._account.profile.change(lambda profile: replace(profile, inboxes=inboxes))
        return profile.seq

    async def claim(self, settings: Mapping[str, Any], inboxes: tuple[str, ...] | None) -> tuple[Outcome, ...]:
        """Claim each inbox, or change its settings; a member that is left out stays as it is."""

        async def claim(inbox: Inbox) -> Mapping[str, Any]:
            await inbox.capabilities()  # a URL that is no inbox server is told so, before anything is signed for it
            return await inbox.claim(dict(settings))

        urls = self._account.profile.read().inboxes if inboxes is None else inboxes
        outcomes = await self._account.at_each(urls, claim)
        if any(outcome.state == "done" for outcome in outcomes):
            kept = {name: value for name, value in settings.items() if name != "invite"}
            self._account.profile.change(lambda profile: replace(profile, settings={**profile.settings, **kept}))
        return outcomes

    async def settings(self) -> tuple[Outcome, ...]:
        """What each inbox shows its owner, in `answer`."""

        async def show(inbox: Inbox) -> Mapping[str, Any]:
            return await inbox.settings()

        return await self._account.at_each(self._account.profile.read().sources, show)

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

    async def _published_seq(self) -> int:
        """Of the card in the bucket, which another device may have written; 0 when there is none."""
        user = self._account.user
        body = await user.bucket.read(CARD_FILE)
        try:
            return read_card(body or b"", address=user.key.address, now=None).seq
        except BadCard:
            return 0
