"""Delivering with a ticket: nothing in the request, and no other request on its connection, says who sends it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.outbox import Place, Waiting
from inbox_server.client.refusals import InboxRefused
from inbox_server.client.sealed import Sealing
from inbox_server.client.sheets import contacts_of
from inbox_server.client.tickets import WEEK_SECONDS, Sheet, seed_of, ticket_of, week_of
from inbox_server.clock import UnixTime
from inbox_server.identity.keys import parse_key

NO_TICKETS: Final = "no_tickets"
"""Why something waits that must go sealed. The JavaScript client has the same code."""
_MIN_TTL_SECONDS: Final = 10
_TAKES_NONE: Final = "bad_token"  # to a server without tickets, one is no token that it knows
_NEW_EDITION_SECONDS: Final = 3600  # the recipient may make one as often, when contacts are new
_AGAIN_SECONDS: Final = 600  # the recipient may just be sending other sheets


class NoTicket(Exception):
    """Nothing was delivered: the reason, for people, and when to try again; 0: in some minutes."""

    def __init__(self, why: str, not_before: int = 0) -> None:
        super().__init__(why)
        self.not_before = not_before


class SealedSending:
    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def _sealing(self) -> Sealing:
        return self._account.profile.read().sealing

    def must_be_sealed(self, key: str) -> bool:
        """Whether nothing is signed for this key any more."""
        return self._sealing.is_on and self._sealing.is_reached(key)

    def may_be_sealed(self, waiting: Waiting, place: Place) -> bool:
        """Whether the recipient may have given tickets to us."""
        profile, sealing = self._account.profile.read(), self._sealing
        knows = waiting.key in sealing.contacts or waiting.key in contacts_of(
            profile
        )  # another device may have met them
        return sealing.is_on and place.per > 0 and knows

    async def deliver(self, url: str, waiting: Waiting, place: Place) -> Mapping[str, Any]:
        """The server's answer. Raises `NoTicket`, `InboxRefused` or `Unreachable`."""
        if not place.per:
            raise NoTicket("the recipient's card offers no tickets any more")
        week = week_of(self._account.now)
        try:
            return await self._with_tickets(url, waiting, place, Sheet(url, week, place.edition))
        except InboxRefused as refusal:
            if refusal.code == _TAKES_NONE:
                raise NoTicket("the server takes no tickets any more") from None
            if refusal.code != "not_accepted":
                raise
            theirs = week if refusal.date is None else week_of(refusal.date)
            if theirs != week:
                return await self._with_tickets(url, waiting, place, Sheet(url, theirs, place.edition))
            raise

    async def _with_tickets(self, url: str, waiting: Waiting, place: Place, sheet: Sheet) -> Mapping[str, Any]:
        """With the first ticket that is not used."""
        user = self._account.user
        shared = user.key.shared_x(bytes.fromhex(waiting.key))
        seed = seed_of(shared, sender=user.key.public, recipient=waiting.key, sheet=sheet)
        body = self._body(waiting, with_receipt=bool(place.pin))
        for number in range(self._sealing.next_number(waiting.key, sheet), place.per):
            try:
                async with self._account.alone(url) as inbox:
                    answer = await inbox.deliver_sealed(body, ticket_of(seed, number))
            except InboxRefused as refusal:
                if refusal.code != "ticket_spent":  # else another device used it, or an answer was lost
                    raise
                self._note(waiting.key, sheet, number, is_reached=False)
                continue
            self._note(waiting.key, sheet, number, is_reached=True)
            return answer
        why = f"all {place.per} tickets of this week are used"
        raise NoTicket(why, min((sheet.week + 1) * WEEK_SECONDS, self._account.now + _NEW_EDITION_SECONDS))

    def _body(self, waiting: Waiting, *, with_receipt: bool) -> bytes:
        """What is left of the `ttl` counts from now. Raises `NoTicket`."""
        members = json.loads(waiting.body)
        if "ttl" in members:
            members["ttl"] -= max(0, self._account.now - waiting.made)
            if members["ttl"] < _MIN_TTL_SECONDS:
                raise InboxRefused(422, "ttl_passed", "The time to live ended before the delivery arrived.")
        members["to"] = parse_key(waiting.key).address
        return json.dumps(members | ({"receipt": True} if with_receipt else {})).encode()

    def _note(self, key: str, sheet: Sheet, number: int, *, is_reached: bool) -> None:
        def change(sealing: Sealing) -> Sealing:
            used = sealing.with_used(key, sheet, number + 1)
            return used.with_reached(key) if is_reached else used

        self._account.profile.change(lambda profile: replace(profile, sealing=change(profile.sealing)))

    def later(self) -> UnixTime:
        """When to try again what a recipient's server does not accept for now."""
        return UnixTime(self._account.now + _AGAIN_SECONDS)
