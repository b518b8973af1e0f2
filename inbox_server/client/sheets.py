"""Giving tickets: an owner's sheets at the own inboxes, and what the card says of them.

A sheet that a server has is never changed for other contacts: the difference would show whose tickets are whose. So new
contacts make a new edition, of which all sheets are sent before the card names it.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.own_card import published_card
from inbox_server.client.own_file import Form, OwnFile
from inbox_server.client.people import BLOCK_BYTES, PEOPLE_FILE, Known, People, merged, parse_people, people_members
from inbox_server.client.profile_file import Profile
from inbox_server.client.remembered import Person
from inbox_server.client.reports import Outcome
from inbox_server.client.sealed import Offer, Sealing
from inbox_server.client.tickets import SHEET_WEEKS, Sheet, ids_of, week_of
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import parse_key

EDITION_SECONDS: Final = 3600  # contacts who are new within an hour share an edition
# A server that was restored has older sheets of the same weeks, and cannot tell. Each daily look sends all of them.
_SEND_ALL_SECONDS: Final = DAY_SECONDS - 3600
PEOPLE: Final = Form(PEOPLE_FILE, People(), people_members, parse_people, BLOCK_BYTES)


class Sheets:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._file = OwnFile(account.user, PEOPLE)
        self._found = People()
        self._is_patient = False

    @property
    def _sealing(self) -> Sealing:
        return self._account.profile.read().sealing

    async def offer(self, inboxes: tuple[str, ...], *, is_patient: bool = False) -> Offer | None:
        """Send what is missing to all these inboxes. What the card may say then; None if one of them takes no sheets.

        `is_patient`: contacts who are new may wait for each other. If the devices' file cannot be read or written,
        nothing is sent, and the card may say what it has said.
        """
        self._is_patient = is_patient
        if not self._sealing.is_on:
            self._change(lambda sealing: replace(sealing, fault=""))
            return None
        try:
            outcomes = await self._send(inboxes)
        except BucketFailed as failure:
            why = str(failure)
            self._change(lambda sealing: replace(sealing, fault=why))
            return await self._offered(inboxes)
        done = [outcome for outcome in outcomes if outcome.state == "done"]
        if without := [outcome.inbox for outcome in done if not outcome.answer.get("given")]:
            if self._sealing.contacts:
                why = f"{', '.join(without)} takes none, so the card offers none"
                self._change(lambda sealing: replace(sealing, fault=why))
            return None
        if not done:
            return await self._offered(inboxes)
        sealing = self._sealing  # an inbox that is down gets its sheets when it is back
        return Offer(sealing.per, sealing.edition)

    async def _send(self, inboxes: tuple[str, ...]) -> tuple[Outcome, ...]:
        """Once more if another device has made an edition meanwhile: these sheets may have come after its own."""
        await self._agree()
        outcomes = await self._account.at_each(inboxes, self._give)
        while any(outcome.answer.get("sent", True) for outcome in outcomes) and await self._is_outrun():
            await self._agree(is_again=True)
            outcomes = await self._account.at_each(inboxes, self._give)
        return outcomes

    async def _is_outrun(self) -> bool:
        with contextlib.suppress(BucketFailed):
            found, _ = await self._file.read()
            return found.edition > self._sealing.edition
        return False

    async def _agree(self, *, is_again: bool = False) -> None:
        """Bring the devices' file and this profile up to date. Raises `BucketFailed`."""
        account, before = self._account, self._sealing.edition
        blocked = account.profile.read().settings.get("blocked", ())
        self._change(lambda sealing: sealing.with_blocked(blocked, account.now))
        people = await self._file.change(self._agreed)
        self._change(lambda sealing: sealing.with_people(people))
        if not is_again and before != people.edition == self._found.edition:
            await self._note_given()

    def _agreed(self, found: People) -> People:
        """What the file should say instead of `found`."""
        self._found = found
        profile, now = self._account.profile.read(), self._account.now
        sealing = profile.sealing
        known = _with_own(found.known, profile)
        wanted = People(found.edition, known).contacts
        if found.edition and found.edition >= sealing.edition:
            if wanted == found.contacts:
                return People(found.edition, known)
            if self._is_patient and _may_wait(found, wanted, now):
                return found
        elif sealing.edition and wanted == sealing.contacts:
            return People(sealing.edition, known)
        return People(max(found.edition + 1, sealing.edition + 1, now), known)

    async def _note_given(self) -> None:
        """If the card names the edition, another device has sent its sheets to all inboxes on it."""
        with contextlib.suppress(BucketFailed):
            card = await published_card(self._account)
            if card and card.offer and card.offer.edition == self._sealing.edition:
                for url in card.inboxes:
                    self._change(lambda sealing, url=url: sealing.with_sent(url, self._account.now))

    async def _offered(self, inboxes: tuple[str, ...]) -> Offer | None:
        """What the card says, if it says it of these inboxes."""
        if not self._account.profile.read().inboxes:
            return None  # there may be no card, and caches would remember that
        with contextlib.suppress(BucketFailed):
            card = await published_card(self._account)
            return card.offer if card and set(inboxes) <= set(card.inboxes) else None
        return None

    async def _give(self, inbox: Inbox) -> Mapping[str, Any]:
        """Send the sheets that this inbox lacks, if it takes any."""
        if not (await self._account.offers(inbox)).takes_tickets:
            self._change(lambda sealing: sealing.with_given(inbox.url))
            return {"given": False, "sent": False}
        told = (await inbox.settings()).get("tickets")
        sealing, first, now = self._sealing, week_of(inbox.now), self._account.now
        is_all = sealing.given.get(inbox.url) != sealing.edition
        is_all = is_all or abs(now - sealing.sent.get(inbox.url, 0)) >= _SEND_ALL_SECONDS
        has = set(told) if isinstance(told, list) and not is_all else set()
        missing = [week for week in range(first, first + SHEET_WEEKS) if week not in has]
        for week in missing:
            sheet = Sheet(inbox.url, week, sealing.edition)
            await inbox.give_tickets(week, ids_of(self._account.user.key, sealing.contacts, sheet, sealing.per))
        if is_all:
            self._change(lambda sealing: sealing.with_sent(inbox.url, now))
        return {"given": True, "sent": bool(missing)}

    def _change(self, change: Any) -> None:
        self._account.profile.change(lambda profile: replace(profile, sealing=change(profile.sealing)))


def contacts_of(profile: Profile) -> tuple[str, ...]:
    """Those who wrote to this device's owner and whom the owner wrote to, both on this device."""
    return tuple(sorted(profile.remembered.people.keys() & profile.remembered.written.keys()))


def _with_own(known: Mapping[str, Known], profile: Profile) -> dict[str, Known]:
    """These and those whom this device knows, with what it knows of each."""
    heard, written, blocks = profile.remembered.people, profile.remembered.written, profile.sealing.blocks
    reached = profile.sealing.reached
    own = {
        key: Known(key in heard, key in written, sealed=key in reached, name=_name_of(heard.get(key), key))
        for key in (*heard, *written)
    }
    people = merged(known, own)
    if not blocks:
        return people

    def block_of(key: str) -> Known:
        out, at = blocks.get(parse_key(key).address, (False, 0))
        return Known(out=out, at=at)

    return {key: person.merged(block_of(key)) for key, person in people.items()}


def _name_of(person: Person | None, key: str) -> str:
    return person.identity if person and person.identity != key else ""


def _may_wait(people: People, wanted: tuple[str, ...], now: UnixTime) -> bool:
    """Whether the next edition may: for an hour, if nobody loses tickets by it, and others than the first get some."""
    before = people.contacts
    return bool(before) and set(before) <= set(wanted) and 0 <= now - people.edition < EDITION_SECONDS


def is_due(profile: Profile, now: UnixTime) -> bool:
    """Whether there may be something to send: for others than before, or to an inbox that has not got it."""
    sealing = profile.sealing
    if not sealing.is_on or not profile.inboxes or sealing.fault:
        return False
    if any(sealing.given.get(url) != sealing.edition for url in profile.inboxes):
        return True
    noted = replace(profile, sealing=sealing.with_blocked(profile.settings.get("blocked", ()), now))
    wanted = People(0, _with_own(sealing.people, noted)).contacts
    return wanted != sealing.contacts and not _may_wait(People(sealing.edition, sealing.people), wanted, now)
