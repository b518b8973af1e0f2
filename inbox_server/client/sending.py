"""Sending: store the message in the own bucket, and deliver its encrypted ID to every inbox on the recipient's card.

The delivery is in the outbox before the first request, and every retry repeats the same bytes, so a lost answer does
no harm. Each retry reads the card again, and so does a refusal, because recipients move.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.http_sessions import LONGEST_PAUSE_SECONDS
from inbox_server.client.inbox_api import InboxRefused, Unreachable, delivery_body
from inbox_server.client.outbox import KEPT_SECONDS, NO_CARD_YET, Outbox, Place, Waiting
from inbox_server.client.reports import Sent, report_of
from inbox_server.client.tokens_and_cards import Card
from inbox_server.client.user import CardUnread, NotForNow, NotReachable, NotValidNow
from inbox_server.identity.keys import PublicKey

_AT_ONCE: Final = 16


class Sending:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def send(self, recipient: str, content: str | bytes, ttl: int | None) -> Sent:
        """Raises `NotReachable`, `NotForNow` or `BucketFailed`; then nothing was sent.

        If the key is known but the card cannot be read, the delivery waits for the card.
        """
        user = self._account.user
        try:
            key, card = await self._look_up(recipient)
            places = {url: Place() for url in card.inboxes}
        except CardUnread as unread:
            key, places = unread.key, {unread.url: Place("waiting", NO_CARD_YET, str(unread))}
        message = await user.write_message(content, key)
        body = delivery_body(user.encrypt_id(message, key), ttl).decode()
        waiting = Waiting(message, recipient, key.hex, body, self._account.now, places)
        self._account.outbox.change(lambda outbox: {**outbox, message: waiting})
        return await self._deliver(waiting, is_card_fresh=True)

    async def retry(self) -> tuple[Sent, ...]:
        """Deliver what waits, but not to an inbox that asked for a pause; returns a report for each that was tried."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def again(waiting: Waiting) -> Sent | None:
            async with gate:
                return await self._retry(waiting)

        reports = await asyncio.gather(*(again(waiting) for waiting in self._account.outbox.read().values()))
        return tuple(report for report in reports if report)

    async def _retry(self, waiting: Waiting) -> Sent | None:
        if await self._is_too_old(waiting):
            return self._keep(_given_up(waiting, "gave_up", "it waited for 30 days"))
        if not self._due(self._rested(waiting)) and not waiting.is_without_card:
            return None
        try:
            key, card = await self._look_up(waiting.recipient)
        except (NotReachable, NotForNow):  # use the card as it was when the message was sent
            return await self._deliver(waiting, is_card_fresh=True)
        if key.hex != waiting.key:
            why = "the recipient has a new key: send it again"
            return self._keep(_given_up(waiting, "key_changed", why))
        return await self._deliver(_follow(waiting, card), is_card_fresh=True)

    async def _is_too_old(self, waiting: Waiting) -> bool:
        """By an own inbox's time: a clock that is wrong for a moment must not empty the outbox."""
        account = self._account
        if account.now - waiting.made < KEPT_SECONDS:
            return False
        return await account.is_time_known() and account.now - waiting.made >= KEPT_SECONDS

    async def _deliver(self, waiting: Waiting, *, is_card_fresh: bool) -> Sent:
        """Ask every inbox that may be asked, and after `not_accepted` also those on a newer card.

        While no card can be read, `not_accepted` is not final: the recipient may have moved.
        """
        waiting = self._rested(waiting)
        due = self._due(waiting)
        results = await asyncio.gather(*(self._ask(url, waiting) for url in due))
        waiting = waiting.with_places(dict(zip(due, results, strict=True)))
        if is_card_fresh and any(place.code == "not_accepted" for place in waiting.places.values()):
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
        try:
            inbox = self._account.others(url)
            # By key, because that needs no proof of the name at that server, and the card was found by the key.
            await inbox.deliver_body(waiting.body.encode(), sender=self._account.user.identity, recipient=waiting.key)
        except InboxRefused as refusal:
            if refusal.is_final:
                return Place("refused", refusal.code, refusal.detail)
            return Place("waiting", refusal.code, refusal.detail, self._account.now + (refusal.retry_after or 0))
        except Unreachable as failure:
            return Place("waiting", "unreachable", str(failure))
        return Place("stored")

    def _rested(self, waiting: Waiting) -> Waiting:
        """A copy with the pauses that the inboxes asked for, in any delivery to the same recipient."""
        rests: dict[str, Place] = {}
        others = [other for other in self._account.outbox.read().values() if other.key == waiting.key]
        for url, place in (named for other in others for named in other.places.items()):
            known = rests[url].not_before if url in rests else self._account.now
            if place.not_before > known:
                rests[url] = place
        asked = {url: rests.get(url, place) for url, place in waiting.places.items() if place.state == "waiting"}
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
            kept = replace(waiting, places=_merged(outbox[waiting.message].places, waiting.places))
            rest = {id: other for id, other in outbox.items() if id != waiting.message}
            return rest if kept.is_over else {**outbox, waiting.message: kept}

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


def _follow(waiting: Waiting, card: Card) -> Waiting:
    """A copy with the inboxes of the card, without waiting ones that are no longer on it."""
    kept = {url: place for url, place in waiting.places.items() if url in card.inboxes or place.state != "waiting"}
    return replace(waiting, places={url: Place() for url in card.inboxes if url not in kept} | kept)


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
