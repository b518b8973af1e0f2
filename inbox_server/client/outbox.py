"""Sent messages that not every inbox has answered yet: the exact bytes, so that a retry repeats the same delivery.

An entry is written before the first request and removed when each inbox has stored it or refused it for good, and the
index in the bucket says so. After 30 days by an own inbox's time it is removed too, and the client reports that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from inbox_server.client.index import Receipt
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.protocol.strict_json import NotStrict, parse_object

KEPT_SECONDS: Final = 30 * DAY_SECONDS  # as long as servers keep what is unread, at their default

NO_CARD_YET: Final = "no_card"
"""The code of a place that is the URL of a card. The card will name the inboxes but could not be read yet."""

_LOOK_SECONDS: Final = 60

State = Literal["waiting", "stored", "refused"]


@dataclass(frozen=True, slots=True)
class Place:
    """One inbox of a recipient. It asked for a pause, so it is not asked before `not_before`.

    `pin` is its server's receipt key on the recipient's card. `expires` and `receipt` are what it answered, the receipt
    only if it holds; `fault` is what is wrong with one that does not. `per` and `edition` are what the card says of
    tickets, `per` 0 if it offers none. `way` is how it was delivered: `sealed` or `signed`.
    """

    state: State = "waiting"
    code: str = ""
    detail: str = ""
    not_before: int = 0
    pin: str = ""
    expires: int = 0
    receipt: Receipt | None = None
    fault: str = ""
    per: int = 0
    edition: int = 0
    way: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One delivery. `message` is the message's ID in the own bucket, `key` the recipient's, `body` what is POSTed.

    `n` is its number in the pair, 0 if it has none. `is_indexed`: the index in the bucket says what is known here.
    `looked`: when the recipient's card was last looked at.
    """

    message: str
    recipient: str
    key: str
    body: str
    made: UnixTime
    places: Mapping[str, Place] = field(default_factory=dict)
    n: int = 0
    is_indexed: bool = True
    looked: int = 0

    @property
    def is_finished(self) -> bool:
        return self.is_over and self.is_indexed

    @property
    def is_over(self) -> bool:
        return all(place.state != "waiting" for place in self.places.values())

    @property
    def is_without_card(self) -> bool:
        return any((place.state, place.code) == ("waiting", NO_CARD_YET) for place in self.places.values())

    def may_have_moved(self, now: UnixTime) -> bool:
        """Whether to look at the card although no inbox may be asked yet.

        A server that is closing asks for a long pause, and its owners move away meanwhile. So the card is looked at
        after a minute, and later after a tenth of the time that the delivery has waited.
        """
        is_closing = any((place.state, place.code) == ("waiting", "draining") for place in self.places.values())
        return is_closing and abs(now - self.looked) >= max(_LOOK_SECONDS, (now - self.made) // 10)

    def with_places(self, places: Mapping[str, Place]) -> "Waiting":
        return replace(self, places={**self.places, **places})


Outbox = Mapping[str, Waiting]
"""By message ID, in the order of sending."""


def undelivered(outbox: Outbox) -> Outbox:
    """What still waits for an inbox, and not only for its entry in the index."""
    return {message: waiting for message, waiting in outbox.items() if not waiting.is_over}


def without_pauses(outbox: Outbox, key: str, code: str) -> Outbox:
    """A copy in which what waits for this recipient because of this may be tried at once."""

    def rested(waiting: Waiting) -> Waiting:
        return waiting.with_places(
            {url: replace(place, not_before=0) for url, place in waiting.places.items() if place.code == code}
        )

    return {message: rested(waiting) if waiting.key == key else waiting for message, waiting in outbox.items()}


def render_outbox(outbox: Outbox) -> bytes:
    entries = [
        {
            "message": waiting.message,
            "recipient": waiting.recipient,
            "key": waiting.key,
            "body": waiting.body,
            "made": waiting.made,
            "places": {url: _members(place) for url, place in waiting.places.items()},
            "n": waiting.n,
            "is_indexed": waiting.is_indexed,
            "looked": waiting.looked,
        }
        for waiting in outbox.values()
    ]
    return json.dumps({"version": 1, "deliveries": entries}, indent=1).encode() + b"\n"


def _members(place: Place) -> dict[str, Any]:
    return {
        "state": place.state,
        "code": place.code,
        "detail": place.detail,
        "not_before": place.not_before,
        "pin": place.pin,
        "expires": place.expires,
        "receipt": place.receipt,
        "fault": place.fault,
        "per": place.per,
        "edition": place.edition,
        "way": place.way,
    }


def parse_outbox(content: bytes) -> Outbox:
    """Raises ValueError."""
    try:
        members = parse_object(content)
        if members["version"] != 1:
            raise ValueError("is no outbox of version 1")
        return {entry["message"]: _waiting(entry) for entry in members["deliveries"]}
    except (NotStrict, LookupError, TypeError, AttributeError):
        raise ValueError("is no outbox of this client") from None


def _waiting(entry: Mapping[str, Any]) -> Waiting:
    places = {url: Place(**place) for url, place in entry["places"].items()}
    return Waiting(**{**entry, "places": places})
