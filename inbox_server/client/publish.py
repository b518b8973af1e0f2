"""What an owner does: publish the card, claim inboxes, change their settings, delete them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from inbox_server.client.account import Account, Action
from inbox_server.client.audit.beginning import Beginnings
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.own_card import OwnCardUnreadable, catch_up, published_card
from inbox_server.client.profile_file import Profile
from inbox_server.client.refusals import InboxRefused
from inbox_server.client.reports import Outcome
from inbox_server.client.sheets import Sheets
from inbox_server.client.tokens_and_cards import CARD_FILE, NO_CARD, Card
from inbox_server.clock import DAY_SECONDS
from inbox_server.identity.names import is_origin

_MOST_INBOXES: Final = 3
_RENEW_SECONDS: Final = 60 * DAY_SECONDS  # of 400: enough for somebody who opens the app once in two months


async def shown(inbox: Inbox) -> dict[str, Any] | None:
    """The inbox's settings; None if there is no such inbox (any more)."""
    try:
        return await inbox.settings()
    except InboxRefused as refusal:
        if refusal.code != "no_inbox":
            raise
        return None


def _pinned(card: Card) -> tuple[str | None, ...]:
    return tuple(card.receipt_key(url) for url in card.inboxes)


class Publishing:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def publish(self, inboxes: tuple[str, ...], *, is_patient: bool = False) -> int:
        """Write the app key and a card that names these inboxes; its `seq`. Raises `BucketFailed` or ValueError.

        The `seq` is the time if that is higher: then a user who lost the profile and the card still publishes a card
        that senders accept as newer. A profile without a card does not look for one before it writes: the caches of
        buckets remember that a file is missing, and would hide the new one. `is_patient` is as for `Sheets.offer`.
        """
        inboxes = tuple(dict.fromkeys(inboxes))
        if not 1 <= len(inboxes) <= _MOST_INBOXES or not all(map(is_origin, inboxes)):
            raise ValueError("a card names one to three inboxes, each an origin without a slash at the end")
        is_first = not self._account.profile.read().inboxes
        if not (is_first and await self._write_card(inboxes, after=0, is_first=True)):
            await self._write_card(inboxes, after=await self._published_seq(), is_patient=is_patient)
        return self._account.profile.change(lambda profile: replace(profile, inboxes=inboxes)).seq

    async def renew(self) -> int | None:
        """Renew a card that expires within 60 days, or that lacks a server's receipt key.

        Returns its `seq`, or None if it was not renewed. Raises `BucketFailed`.
        """
        card = await published_card(self._account)
        if card is None or not await self._account.is_time_known():
            return None
        keys = await self._receipt_keys(card.inboxes)
        lacks_key = any(key and key != pinned for key, pinned in zip(keys, _pinned(card), strict=True))
        if card.expires - self._account.now > _RENEW_SECONDS and not lacks_key:
            return None
        await catch_up(self._account)
        profile = self._account.profile.read()
        if profile.move or not profile.inboxes:
            return None
        return await self.publish(profile.inboxes, is_patient=True)

    async def renew_sheets(self) -> int | None:
        """Send sheets that are due, and publish the card again if it says something else then; its `seq`, or None.

        Raises `BucketFailed`.
        """
        profile = self._account.profile.read()
        if profile.move or not profile.inboxes:
            return None
        offer = await Sheets(self._account).offer(profile.inboxes, is_patient=True)
        card = await published_card(self._account) if offer else None
        if card is None or card.offer == offer:
            return None
        return await self.publish(profile.inboxes, is_patient=True)

    async def _write_card(
        self, inboxes: tuple[str, ...], *, after: int, is_first: bool = False, is_patient: bool = False
    ) -> bool:
        """Returns whether it was written; a first card is not written over an existing one."""
        await self._account.is_time_known(inboxes)  # a card has a date
        now = self._account.now
        keys = await self._receipt_keys(inboxes)
        offer = await Sheets(self._account).offer(inboxes, is_patient=is_patient)
        # Counted before it is written: a number is never used for two cards.
        seq = self._account.profile.change(
            lambda profile: replace(profile, seq=max(profile.seq + 1, after + 1, now))
        ).seq
        return await self._account.user.publish(
            inboxes, seq=seq, now=now, is_first=is_first, receipt_keys=keys, offer=offer
        )

    async def _receipt_keys(self, inboxes: tuple[str, ...]) -> tuple[str | None, ...]:
        """What the card pins: each server's receipt key, or the last one known if it does not answer."""

        async def note(inbox: Inbox) -> None:
            if key := (await self._account.offers(inbox)).key:
                self._account.profile.change(
                    lambda profile: profile.with_remembered(lambda known: known.with_receipt_key(inbox.url, key))
                )

        await self._account.at_each(inboxes, note)
        known = self._account.profile.read().remembered.receipt_keys
        return tuple(next(iter(known.get(url, ())), None) for url in inboxes)

    async def _published_seq(self) -> int:
        try:
            card = await published_card(self._account)
        except OwnCardUnreadable:  # the new card replaces it
            return 0
        return card.seq if card else 0

    async def claim(self, settings: Mapping[str, Any], inboxes: tuple[str, ...] | None) -> tuple[Outcome, ...]:
        """Claim each inbox, or change its settings. A member that is left out stays as it is.

        A new inbox also gets the last settings of the others.
        """
        profile = self._account.profile.read()
        beginnings, new = Beginnings(self._account), dict[str, str]()

        async def claim(inbox: Inbox) -> Mapping[str, Any]:
            await inbox.capabilities()  # find out that a URL is not an inbox server before signing anything for it
            is_new = await shown(inbox) is None
            if is_new:
                beginnings.note(inbox)
            answer = await inbox.claim({**(profile.settings if is_new else {}), **settings})
            if is_new:
                new[inbox.url] = "claimed"
            return answer

        urls = profile.inboxes if inboxes is None else inboxes
        outcomes = await self._account.at_each(urls, claim)
        if any(outcome.state == "done" for outcome in outcomes):
            kept = {name: value for name, value in settings.items() if name != "invite"}
            self._account.profile.change(lambda profile: replace(profile, settings={**profile.settings, **kept}))
        for url in new:
            if await beginnings.begin(self._account.own(url)):
                new[url] = "claimed_again"
        return tuple(replace(each, code=new.get(each.inbox, each.code)) for each in outcomes)

    async def settings(self) -> tuple[Outcome, ...]:
        """Each inbox's settings and state, in `answer`."""

        async def show(inbox: Inbox) -> Mapping[str, Any]:
            return await inbox.settings()

        return await self._account.at_each(self._account.profile.read().sources, show)

    async def at_inboxes(self, inboxes: tuple[str, ...] | None, action: Action) -> tuple[Outcome, ...]:
        """Do the same at these inboxes, or at all of them. Their errors become reports, not exceptions."""
        urls = self._account.profile.read().sources if inboxes is None else inboxes
        return await self._account.at_each(urls, action)

    async def forget(self, inboxes: tuple[str, ...] | None) -> tuple[Outcome, ...]:
        """Delete inboxes, all if none is named. Takes them off the card first, so that nobody delivers to them."""
        listed = self._account.profile.read().inboxes
        urls = listed if inboxes is None else inboxes
        left = tuple(url for url in listed if url not in urls)
        if left != listed:
            await (self.publish(left) if left else self._account.user.bucket.write(CARD_FILE, NO_CARD))
        await Beginnings(self._account).end(urls)
        outcomes = await self._account.at_each(urls, Inbox.forget)
        for outcome in outcomes:
            if outcome.state == "done":
                self._account.profile.change(partial(Profile.without_inbox, inbox=outcome.inbox))
        return outcomes
