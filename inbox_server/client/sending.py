"""Sending: store the message in the own bucket, and deliver its encrypted ID to every inbox on the recipient's card.

The delivery is in the outbox before the first request, and every retry repeats the same bytes, so a lost answer does
no harm. Each retry reads the card again, and so does a refusal, because recipients move.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from inbox_server.client.account import Account
from inbox_server.client.delivery import asking_for_receipt, delivery_body, entry_id
from inbox_server.client.http_sessions import LONGEST_PAUSE_SECONDS
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.index import Receipt
from inbox_server.client.outbox import KEPT_SECONDS, NO_CARD_YET, Outbox, Place, Waiting, without_pauses
from inbox_server.client.receipts import BadReceipt, Taken, check_receipt
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.reports import Sent, report_of
from inbox_server.client.sealed_sending import NO_TICKETS, NoTicket, SealedSending
from inbox_server.client.tokens_and_cards import Card
from inbox_server.client.user import CardUnread, NotForNow, NotReachable, NotValidNow
from inbox_server.clock import UnixTime
from inbox_server.identity.keys import PublicKey, parse_key

_AT_ONCE: Final = 16
_NOT_OFFERED: Final = (
    "no receipt: the server does not say now that it gives any, although the recipient's card has its key"
)
_NOT_SIGNED: Final = "nothing was signed, because earlier messages went sealed; `send --signed` signs it"
_NOT_TAKEN: Final = f"no ticket is accepted, and the recipient may just be changing them; {_NOT_SIGNED}"
_LOOK_AGAIN: Final = ("not_accepted", NO_TICKETS)


class Sending:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def send(self, recipient: str, content: str | bytes, ttl: int | None, *, may_sign: bool = False) -> Sent:
        """Raises `NotReachable`, `NotForNow` or `BucketFailed`; then nothing was sent.

        If the key is known but the card cannot be read, the delivery waits for the card. `may_sign` lets it be signed
        even if earlier messages to this recipient went sealed.
        """
        user = self._account.user
        try:
            key, card = await self._look_up(recipient)
            places = _places_on(card)
        except CardUnread as unread:
            key, places = unread.key, {unread.url: Place("waiting", NO_CARD_YET, str(unread))}
        if may_sign:
            sealing = self._account.profile.read().sealing.without_reached(key.hex)
            self._account.profile.change(lambda profile: replace(profile, sealing=sealing))
            self._account.outbox.change(lambda outbox: without_pauses(outbox, key.hex, NO_TICKETS))
        message = await user.write_message(content, key)
        now = self._account.now
        pointer = await self._account.index.next_pointer(message, key, now)
        body = delivery_body(pointer.message_id, ttl).decode()
        waiting = Waiting(message, recipient, key.hex, body, now, places, pointer.n, is_indexed=False, looked=now)
        self._account.outbox.change(lambda outbox: {**outbox, message: waiting})
        sent = await self._deliver(waiting, is_card_fresh=True)
        sent = _with_index(sent, await self._account.index.write())
        return replace(sent, is_linked=pointer.is_linked)

    async def retry(self) -> tuple[Sent, ...]:
        """Deliver what waits, but not to an inbox that asked for a pause; returns a report for each that was tried."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def again(waiting: Waiting) -> Sent | None:
            async with gate:
                return await self._retry(waiting)

        reports = await asyncio.gather(*(again(waiting) for waiting in self._account.outbox.read().values()))
        failed = await self._account.index.write()
        return tuple(_with_index(report, failed) for report in reports if report)

    async def _retry(self, waiting: Waiting) -> Sent | None:
        if waiting.is_over:  # only its entry in the index is missing
            if await self._is_too_old(waiting):
                self._account.index.give_up(waiting)
            return None
        if await self._is_too_old(waiting):
            return self._keep(_given_up(waiting, "gave_up", "it waited for 30 days"))
        is_due = bool(self._due(self._rested(waiting))) or waiting.is_without_card
        if not is_due and not waiting.may_have_moved(self._account.now):
            return None
        waiting = replace(waiting, looked=self._account.now)
        try:
            key, card = await self._look_up(waiting.recipient)
        except (NotReachable, NotForNow):  # use the card as it was when the message was sent
            pass
        else:
            if key.hex != waiting.key:
                why = "the recipient has a new key: send it again"
                return self._keep(_given_up(waiting, "key_changed", why))
            waiting = _follow(waiting, card)
        if is_due or self._due(waiting):
            return await self._deliver(waiting, is_card_fresh=True)
        self._keep(waiting)
        return None

    async def _is_too_old(self, waiting: Waiting) -> bool:
        """By an own inbox's time: a clock that is wrong for a moment must not empty the outbox."""
        account = self._account
        if account.now - waiting.made < KEPT_SECONDS:
            return False
        return await account.is_time_known() and account.now - waiting.made >= KEPT_SECONDS

    async def _deliver(self, waiting: Waiting, *, is_card_fresh: bool) -> Sent:
        """Ask every inbox that may be asked; after a code of `_LOOK_AGAIN` also those on a newer card.

        While no card can be read, `not_accepted` is not final: the recipient may have moved.
        """
        waiting = self._rested(waiting)
        due = self._due(waiting)
        results = await asyncio.gather(*(self._ask(url, waiting) for url in due))
        waiting = waiting.with_places(dict(zip(due, results, strict=True)))
        if is_card_fresh and any(place.code in _LOOK_AGAIN for place in waiting.places.values()):
            try:
                newer = await self._with_newer_card(waiting)
            except (NotReachable, NotForNow) as failure:
                return self._keep(_undecided(waiting, str(failure)))
            if newer is not None:
                return await self._deliver(newer, is_card_fresh=False)
        return self._keep(waiting)

    async def _with_newer_card(self, waiting: Waiting) -> Waiting | None:
        """A copy with the inboxes that are new on the recipient's card.

        Raises `NotReachable` or `NotForNow`.
        """
        key, card = await self._look_up(waiting.recipient)
        followed = _follow(waiting, card)
        return followed if key.hex == waiting.key and followed.places != waiting.places else None

    async def _ask(self, url: str, waiting: Waiting) -> Place:
        """One delivery to one inbox; returns what to remember of it."""
        place, sealed = waiting.places[url], SealedSending(self._account)
        must = sealed.must_be_sealed(waiting.key)
        if not must and not sealed.may_be_sealed(waiting, place):
            return await self._ask_signed(url, waiting)
        try:
            answer = await sealed.deliver(url, waiting, place)
        except NoTicket as missing:
            if not must:
                return await self._ask_signed(url, waiting)
            not_before = missing.not_before or sealed.later()
            return replace(place, code=NO_TICKETS, detail=f"{missing}; {_NOT_SIGNED}", not_before=not_before)
        except InboxRefused as refusal:
            if refusal.code == "not_accepted" and not must:
                return await self._ask_signed(url, waiting)
            if refusal.code == "not_accepted":  # a ticket's is not final: it may be the recipient's sheets that change
                return replace(place, code=NO_TICKETS, detail=_NOT_TAKEN, not_before=sealed.later())
            return self._refused(place, refusal)
        except Unreachable as failure:
            return replace(place, code="unreachable", detail=str(failure))
        return _stored(url, waiting, answer, replace(place, way="sealed"), has_receipt=bool(place.pin))

    def _refused(self, place: Place, refusal: InboxRefused) -> Place:
        if refusal.is_final:
            return replace(place, state="refused", code=refusal.code, detail=refusal.detail)
        pause = self._account.now + (refusal.retry_after or 0)
        return replace(place, code=refusal.code, detail=refusal.detail, not_before=pause)

    async def _ask_signed(self, url: str, waiting: Waiting) -> Place:
        place = waiting.places[url]
        try:
            inbox = self._account.others(url)
            asks = bool(place.pin) and await self._gives_receipts(inbox)
            body = asking_for_receipt(waiting.body) if asks else waiting.body.encode()
            # By key, because that needs no proof of the name at that server, and the card was found by the key.
            answer = await inbox.deliver_body(body, sender=self._account.user.identity, recipient=waiting.key)
        except InboxRefused as refusal:
            return self._refused(place, refusal)
        except Unreachable as failure:
            return replace(place, code="unreachable", detail=str(failure))
        return _stored(url, waiting, answer, replace(place, way="signed"), has_receipt=asks)

    async def _gives_receipts(self, inbox: Inbox) -> bool:
        """A server that cannot say is only asked to deliver."""
        try:
            return (await self._account.offers(inbox)).key is not None
        except (InboxRefused, Unreachable):
            return False

    def _rested(self, waiting: Waiting) -> Waiting:
        """A copy with the pauses that the inboxes asked for, in any delivery to the same recipient."""
        must = SealedSending(self._account).must_be_sealed(waiting.key)
        rests: dict[str, Place] = {}
        others = [other for other in self._account.outbox.read().values() if other.key == waiting.key]
        for url, rest in (named for other in others for named in other.places.items()):
            known = rests[url].not_before if url in rests else self._account.now
            if rest.not_before > known and (must or rest.code != NO_TICKETS):
                rests[url] = rest
        asked = {url: place for url, place in waiting.places.items() if place.state == "waiting"}
        for url, rest in rests.items():
            place = asked.get(url)
            if place and (rest.code != NO_TICKETS or (rest.per, rest.edition) == (place.per, place.edition)):
                asked[url] = replace(place, code=rest.code, detail=rest.detail, not_before=rest.not_before)
        return waiting.with_places(asked)

    def _due(self, waiting: Waiting) -> list[str]:
        """The inboxes to ask now."""
        now = self._account.now
        asked = [url for url, place in waiting.places.items() if place.state == "waiting" and place.code != NO_CARD_YET]
        # A time later than a server may ask for comes from a clock that was wrong.
        return [url for url in asked if not now < waiting.places[url].not_before <= now + LONGEST_PAUSE_SECONDS]

    def _keep(self, waiting: Waiting) -> Sent:
        """Update the delivery in the outbox, or remove it when it is finished."""
        kept = waiting

        def change(outbox: Outbox) -> Outbox:
            nonlocal kept
            if waiting.message not in outbox:  # another command has finished it in the meantime
                return outbox
            before = outbox[waiting.message]
            places = _merged(before.places, waiting.places)
            has_index = before.is_indexed and (not waiting.n or _answers(places) == _answers(before.places))
            kept = replace(waiting, places=places, is_indexed=has_index)
            rest = {id: other for id, other in outbox.items() if id != waiting.message}
            return rest if kept.is_finished else {**outbox, waiting.message: kept}

        self._account.outbox.change(change)
        return report_of(kept)

    async def _look_up(self, recipient: str) -> tuple[PublicKey, Card]:
        """Raises `NotReachable` also if the card is older than one seen before, because then its host replays it."""
        key, card = await self._read_card(recipient)
        seen = self._account.profile.read().seen.get(key.address, 0)
        if card.seq < seen:
            raise NotReachable(f"{recipient}'s inbox card is older than one seen before: its host shows an old one")
        if card.seq > seen:
            self._account.profile.change(lambda profile: replace(profile, seen={**profile.seen, key.address: card.seq}))
        return key, card

    async def _read_card(self, recipient: str) -> tuple[PublicKey, Card]:
        """Uses the own inboxes' time if the card is not valid by this machine's."""
        account = self._account
        try:
            return await account.user.look_up(recipient, now=account.now)
        except NotValidNow as error:
            if await account.is_time_known():
                return await account.user.look_up(recipient, now=account.now)
            here = datetime.fromtimestamp(account.now, UTC)
            raise NotReachable(f"{error}; or the clock here is wrong: it says {here:%Y-%m-%d %H:%M} UTC") from None


def _places_on(card: Card) -> dict[str, Place]:
    return {url: _as_on(card, url, Place()) for url in card.inboxes}


def _as_on(card: Card, url: str, place: Place) -> Place:
    """A copy with what the card says of this inbox. Another edition of tickets need not wait for a pause to end."""
    per, edition = (card.offer.per, card.offer.edition) if card.offer else (0, 0)
    not_before = place.not_before if (per, edition) == (place.per, place.edition) else 0
    return replace(place, pin=card.receipt_key(url) or "", per=per, edition=edition, not_before=not_before)


def _follow(waiting: Waiting, card: Card) -> Waiting:
    """A copy with the inboxes of the card, without waiting ones that are no longer on it."""
    kept = {
        url: _as_on(card, url, place) if place.state == "waiting" else place
        for url, place in waiting.places.items()
        if url in card.inboxes or place.state != "waiting"
    }
    return replace(waiting, places=_places_on(card) | kept)


def _stored(url: str, waiting: Waiting, answer: Mapping[str, Any], asked: Place, *, has_receipt: bool) -> Place:
    """With the receipt, checked against the pin, if one was asked for. One that does not hold changes nothing else."""
    expires = answer.get("expires")
    expires = expires if type(expires) is int else 0
    place = replace(asked, state="stored", code="", detail="", not_before=0, expires=expires)
    if not has_receipt:
        return replace(place, fault=_NOT_OFFERED if asked.pin else "")
    if answer.get("receipt") is None:
        return replace(place, fault="the server gave no receipt, although it says that it gives them")
    try:
        taken = Taken(url, parse_key(waiting.key).address, entry_id(waiting.body), UnixTime(place.expires))
        check_receipt(answer["receipt"], asked.pin, taken)
    except BadReceipt as error:
        return replace(place, fault=f"the receipt {error}")
    kept = {name: answer["receipt"][name] for name in ("token", "salt", "path")}
    return replace(place, receipt={**kept, "expires": place.expires})


def _answers(places: Mapping[str, Place]) -> dict[str, tuple[int, Receipt | None]]:
    """What an index has of them."""
    return {url: (place.expires, place.receipt) for url, place in places.items()}


def _with_index(sent: Sent, failed: Mapping[str, str]) -> Sent:
    return replace(sent, index=failed.get(sent.message, ""))


def _merged(known: Mapping[str, Place], new: Mapping[str, Place]) -> dict[str, Place]:
    """What was stored stays stored, whichever command reported it."""
    stored = {url: place for url, place in known.items() if place.state == "stored"}
    return {**new, **{url: place for url, place in stored.items() if url in new}}


def _undecided(waiting: Waiting, why: str) -> Waiting:
    """A copy in which `not_accepted` waits until it is known whether the recipient has moved."""
    refused = {url: place for url, place in waiting.places.items() if place.code == "not_accepted"}
    return waiting.with_places(
        {
            url: replace(place, state="waiting", detail=f"{place.detail} Whether the recipient moved is unknown: {why}")
            for url, place in refused.items()
        }
    )


def _given_up(waiting: Waiting, code: str, detail: str) -> Waiting:
    over = {url: Place("refused", code, detail) for url, place in waiting.places.items() if place.state == "waiting"}
    return waiting.with_places(over)
