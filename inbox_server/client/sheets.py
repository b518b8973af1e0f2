"""Giving tickets: an owner's sheets at the own inboxes, and what the card says of them.

A sheet that a server has is never changed for other contacts: the difference would show whose tickets are whose. So new
contacts make a new edition, of which all sheets are sent before the card names it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.profile_file import Profile
from inbox_server.client.sealed import Offer, Sealing
from inbox_server.client.tickets import SHEET_WEEKS, Sheet, ids_of, week_of
from inbox_server.clock import UnixTime

EDITION_SECONDS: Final = 3600  # contacts who are new within an hour share an edition


class Sheets:
    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def _sealing(self) -> Sealing:
        return self._account.profile.read().sealing

    async def offer(self, inboxes: tuple[str, ...]) -> Offer | None:
        """Send what is missing to all these inboxes. What the card may say then; None if one of them has no sheets."""
        if not self._sealing.is_on:
            return None
        self._renew_edition()
        outcomes = await self._account.at_each(inboxes, self._give)
        if any(outcome.state != "done" or not outcome.answer.get("given") for outcome in outcomes):
            return None
        sealing = self._sealing
        return Offer(sealing.per, sealing.edition)

    def _renew_edition(self) -> None:
        now = self._account.now
        profile = self._account.profile.read()
        contacts = contacts_of(profile)
        sealing = profile.sealing
        if sealing.edition and (contacts == sealing.contacts or _is_young(sealing, now)):
            return
        edition = max(sealing.edition + 1, now)
        self._change(lambda sealing: sealing.with_edition(edition, contacts))

    async def _give(self, inbox: Inbox) -> Mapping[str, Any]:
        """Send the sheets that this inbox lacks, if it takes any."""
        if not (await self._account.offers(inbox)).takes_tickets:
            self._change(lambda sealing: sealing.with_given(inbox.url))
            return {"given": False}
        told = (await inbox.settings()).get("tickets")
        sealing, first = self._sealing, week_of(inbox.now)
        has = set(told) if isinstance(told, list) and sealing.given.get(inbox.url) == sealing.edition else set()
        for week in range(first, first + SHEET_WEEKS):
            if week not in has:
                sheet = Sheet(inbox.url, week, sealing.edition)
                await inbox.give_tickets(week, ids_of(self._account.user.key, sealing.contacts, sheet, sealing.per))
        self._change(lambda sealing: sealing.with_given(inbox.url))
        return {"given": True}

    def _change(self, change: Any) -> None:
        self._account.profile.change(lambda profile: replace(profile, sealing=change(profile.sealing)))


def contacts_of(profile: Profile) -> tuple[str, ...]:
    """Those who wrote to the owner and whom the owner wrote to."""
    return tuple(sorted(profile.remembered.people.keys() & profile.remembered.written.keys()))


def _is_young(sealing: Sealing, now: UnixTime) -> bool:
    return 0 <= now - sealing.edition < EDITION_SECONDS


def is_due(profile: Profile, now: UnixTime) -> bool:
    """Whether there may be something to send: new contacts, or a new week."""
    sealing = profile.sealing
    if not sealing.is_on or not profile.inboxes:
        return False
    late = contacts_of(profile) != sealing.contacts and not _is_young(sealing, now)
    return late or any(sealing.given.get(url) != sealing.edition for url in profile.inboxes)
