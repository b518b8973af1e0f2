"""Clients that never rest: senders that repeat what was not answered, and devices that follow, list and acknowledge.

Each works on a connection of its own until the server is gone, and takes up its work again at the next one. What they
choose is random, from a generator that is seeded.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from inbox_server.client.appkey import AppKey
from inbox_server.protocol.base64url import encode
from tests.faults.model import Faults, Ledger, Reading
from tests.faults.tickets import Tickets
from tests.support.requests import Answer, Caller
from tests.support.sealed import deliver_sealed

_SPENT: Final = 0.1  # of the sealed deliveries are followed by another one with a ticket that was used
_DAY_SECONDS: Final = 86_400
_BEFORE_MIDNIGHT_SECONDS: Final = 300  # no ticket is used then: it has no time, and a repeat could lengthen the life
MOST_TEXT: Final = 900  # characters; a padded encrypted ID has 816
MOST_ACK: Final = 30  # ids; so that inboxes keep some hundred entries
_REPEATS: Final = 0.05  # of the deliveries repeat one that was answered
_GIVE_UP: Final = 0.03  # of the deliveries are left by their client after some milliseconds, and repeated
_GIVE_UP_SECONDS: Final = 0.005


class Stopping(Exception):
    """The server said that it is stopping: nothing was done, repeat it at the next one."""


class Unexpected(Exception):
    """An answer that a living server has no reason for."""


class Away(Unexpected):
    """The server said that it cannot do it for now: it has no database, or no room."""


class QuickKey(AppKey):
    """Signs ten times as fast as its parent, which makes PyJWT's key anew each time: else the clients are the load."""

    def token(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        signed = ".".join(encode(json.dumps(part).encode()) for part in ({"typ": typ, "alg": "ES256K"}, claims))
        halves = decode_dss_signature(self.sign(signed.encode()))
        return f"{signed}.{encode(b''.join(half.to_bytes(32, 'big') for half in halves))}"


@dataclass(frozen=True, slots=True)
class Box:
    """One inbox: its owner's key, and what is known of it."""

    key: AppKey
    ledger: Ledger
    tickets: Tickets = field(default_factory=Tickets)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request with a token or a ticket. It is repeated as it is: a repeat signed later could lengthen the life, and
    move the entry. One with a ticket does so on the next day."""

    box: Box
    text: str
    body: bytes
    authorization: str
    day: int = 0
    ticket: bytes | None = None


class Sender:
    """Sends one delivery after the other, and the same one again until it is answered."""

    def __init__(
        self,
        name: str,
        key: AppKey,
        boxes: list[Box],
        random: Random,
        tally: Counter[str],
        *,
        gives_up: float = _GIVE_UP,
        seals: float = 0,
    ) -> None:
        self.key = key
        self._name = name
        self._boxes = boxes
        self._random = random
        self._tally = tally
        self._gives_up = gives_up
        self._seals = seals
        """This share of the deliveries goes with tickets."""
        self._number = 0
        self._unanswered: Delivery | None = None
        self._answered: deque[Delivery] = deque(maxlen=8)

    async def work(self, caller: Caller) -> None:
        if self._unanswered is not None and self._unanswered not in self._answered:
            self._tally["repeats"] += 1
            self._tally["cut off"] += 1
            self._tally["of them stored"] += await self._send(caller, self._unanswered)
        while True:
            if self._unanswered is not None:
                self._tally["repeats"] += 1
                await self._send(caller, self._unanswered)
            elif self._answered and self._random.random() < _REPEATS:
                await self._repeat(caller, self._random.choice(self._answered))
            else:
                await self._send(caller, await self._write(caller))

    async def finish(self, caller: Caller) -> None:
        """Send again what was not answered."""
        while self._unanswered is not None:
            self._tally["repeats"] += 1
            await self._send(caller, self._unanswered)

    async def _repeat(self, caller: Caller, delivery: Delivery) -> None:
        """One that was answered; with a ticket only on the same day."""
        self._tally["repeats"] += 1
        if delivery.ticket is None or delivery.day == _day(caller):
            await self._send(caller, delivery)

    async def _write(self, caller: Caller) -> Delivery:
        seals = self._random.random() < self._seals and (
            caller.clock() + _BEFORE_MIDNIGHT_SECONDS
        ) // _DAY_SECONDS == _day(caller)
        text, box = self._text(), self._random.choice(self._boxes)
        if not seals:
            body = json.dumps({"message_id": text}).encode()
            return Delivery(box, text, body, f"Bearer {caller.deliver_token(body, self.key.public, box.key.address)}")
        if box.tickets.spent and self._random.random() < _SPENT:
            await self._offer_spent(caller, box)
        if given := await box.tickets.give(replace(caller, key=box.key), self._random):
            _check(given, 204)
        ticket = box.tickets.take()
        body = json.dumps({"message_id": text, "to": box.key.address}).encode()
        return Delivery(box, text, body, f"InboxTicket {encode(ticket)}", _day(caller), ticket)

    def _text(self) -> str:
        self._number += 1
        return f"{self._name}-{self._number} ".ljust(self._random.randint(24, MOST_TEXT), "x")

    async def _offer_spent(self, caller: Caller, box: Box) -> None:
        """A ticket that was used, for something else. One of many that are not on the last sheet may be forgotten."""
        ticket, text = self._random.choice(box.tickets.spent), self._text()
        answer = await deliver_sealed(replace(caller, key=box.key), ticket, message_id=text)
        if answer.status in (200, 201):
            box.ledger.faults.add("respent", f"{text[:20]} was taken with a ticket that was used")
        else:
            _check(answer, 409, 403)
        self._tally["spent again"] += 1

    async def _send(self, caller: Caller, delivery: Delivery) -> bool:
        """Whether the answer was that it is a repeat."""
        self._unanswered = delivery
        gives_up = self._random.random() < self._gives_up
        asked = delivery.box.ledger.send(delivery.text)
        try:
            async with asyncio.timeout(self._random.random() * _GIVE_UP_SECONDS if gives_up else None):
                headers = {"Authorization": delivery.authorization}
                answer = await caller.send("POST", "/v1/messages", delivery.body, headers=headers)
        except TimeoutError:
            if not gives_up:
                raise
            return False
        _check(answer, 201, 200)
        delivery.box.ledger.delivered(delivery.text, asked, answer.json(), new=answer.status == 201)
        self._unanswered = None
        self._answered.append(delivery)
        self._tally["answered"] += 1
        if delivery.ticket is not None:
            delivery.box.tickets.use(delivery.ticket)
            self._tally["sealed"] += 1
        return answer.status == 200


class Device:
    """One of an owner's devices. It keeps its cursor and what it knows while servers come and go."""

    def __init__(self, box: Box, random: Random, tally: Counter[str]) -> None:
        self.key = box.key
        self.reading = Reading(box.ledger)
        self._ledger = box.ledger
        self._random = random
        self._tally = tally
        self._ack: list[str] = []
        self._ack_answered = True

    async def work(self, caller: Caller) -> None:
        while True:
            if not self._ack_answered:
                await self._acknowledge(caller)
            chance = self._random.random()
            if chance < 0.4:
                await self._page(caller, self.reading)
            elif chance < 0.5:
                await self._list(caller)
            else:
                if chance < 0.9:
                    unread = list(self.reading.unread)
                    self._ack = self._random.sample(unread, min(len(unread), self._random.randint(1, MOST_ACK)))
                await self._acknowledge(caller)

    async def finish(self, caller: Caller) -> None:
        """Acknowledge again what was not answered."""
        if not self._ack_answered:
            await self._acknowledge(caller)

    async def _page(self, caller: Caller, reading: Reading) -> bool:
        self._tally["pages"] += 1
        return await read_page(caller, reading, self._random.choice((1, 3, 10, 50)))

    async def _list(self, caller: Caller) -> None:
        """What is unread, from the start, as a new device would."""
        reading = Reading(self._ledger)
        while await self._page(caller, reading):
            pass

    async def _acknowledge(self, caller: Caller) -> None:
        """The ids of `_ack`: new ones, those that were not answered, or once more those that were."""
        self._ack_answered = False
        self._ledger.send_ack(self._ack)
        _check(await caller.acknowledge(*self._ack), 204)
        self._ledger.acknowledged(self._ack)
        self._ack_answered = True
        self._tally["acks"] += 1


async def read_page(caller: Caller, reading: Reading, limit: int, wait_seconds: int = 0) -> bool:
    """Take the next page of a reading; whether there are more."""
    query: dict[str, Any] = {"limit": limit} | ({"after": reading.cursor} if reading.cursor else {})
    if wait_seconds:
        query["wait"] = wait_seconds
    asked = reading.ledger.now()
    answer = await caller.unread(**query)
    _check(answer, 200)
    return reading.take(answer.json(), asked)


async def check_box(caller: Caller, box: Box, devices: list[Reading], faults: Faults, limit: int) -> None:
    """Compare everything that can be read of an inbox that nobody else asks, in pages of `limit`.

    `devices` go on from the cursors that they have.
    """
    listing = Reading(box.ledger)
    while await read_page(caller, listing, limit):
        pass
    for device in devices:
        while await read_page(caller, device, limit):
            pass
        if device.unread.keys() != listing.unread.keys():
            ours, theirs = len(device.unread), len(listing.unread)
            faults.add("apart", f"a device knows {ours} entries, a new list holds {theirs}")
    box.ledger.settle(listing.unread)
    answer = await caller.settings()
    _check(answer, 200)
    inbox = answer.json()
    counted, listed = (inbox["unread"], inbox["quota"]["bytes_used"]), sum(map(len, listing.unread.values()))
    if counted != (len(listing.unread), listed):
        faults.add("miscounted", f"{counted} are not {len(listing.unread)} entries of {listed} bytes")


def _day(caller: Caller) -> int:
    return caller.clock() // _DAY_SECONDS


def _check(answer: Answer, *expected: int) -> None:
    if answer.status == 503 and answer.json()["code"] == "stopping":
        raise Stopping
    if answer.status in (503, 507) and answer.json()["code"] != "inbox_full":
        raise Away(f"{answer.status} {answer.json()['code']}")
    if answer.status not in expected:
        raise Unexpected(f"{answer.status} instead of {expected}: {answer.body[:300]!r}")
