"""Tickets as a server sees them: in the Authorization header, in the body that comes with one, and on a sheet."""

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from inbox_server.clock import UnixTime
from inbox_server.identity.addresses import is_app_address
from inbox_server.protocol.base64url import NotBase64Url, decode
from inbox_server.protocol.bearer import bad_token
from inbox_server.protocol.requests import (
    USUAL_MESSAGE_ID,
    USUAL_OPTIONS,
    DeliveryBody,
    bad_request,
    delivery_of,
    members_of,
    text_of,
    usual_delivery_of,
)
from inbox_server.store.contract import WEEK_SECONDS, weeks_of

TICKET_BYTES: Final = 32
TICKET_ID_BYTES: Final = 16
SHEET_SIZES: Final = (1024, 2048, 4096)  # the smallest has room for 32 contacts with 32 tickets each
WEEKS_AHEAD: Final = 4
MAX_SHEET_BYTES: Final = 128 * 1024  # the largest sheet in base64url has 87,382 characters

_SCHEME: Final = re.compile(r"[Ii][Nn][Bb][Oo][Xx][Tt][Ii][Cc][Kk][Ee][Tt] +(\S+)")
_TO: Final = r', ?"to": ?"([1-9A-HJ-NP-Za-km-z]{26,35})"'
_USUAL: Final = re.compile(f"{USUAL_MESSAGE_ID}(?:{_TO})?{USUAL_OPTIONS}(?:{_TO})?}}")  # clients differ in the order
_is_address = lru_cache(maxsize=4096)(is_app_address)  # of recipients: a checksum takes longer than all else here
_ID_LABEL: Final = b"message-inbox-ticket-id"


@dataclass(frozen=True, slots=True)
class SealedBody:
    """What is delivered, and the recipient's address."""

    delivery: DeliveryBody
    to: str


@dataclass(frozen=True, slots=True)
class SheetBody:
    """The ids of a week's tickets, 16 bytes each."""

    week: int
    ids: tuple[bytes, ...] = field(repr=False)


def is_ticket(authorization: str | None) -> bool:
    """Whether this is meant to be a ticket, good or bad."""
    return authorization is not None and authorization[:11].lower() == "inboxticket"


def read_ticket_id(authorization: str | None) -> bytes:
    """The id of the ticket, 16 bytes. Raises `Refused`."""
    match = _SCHEME.fullmatch(authorization or "")
    if not match:
        raise bad_token("Authorization", "must be `InboxTicket` followed by one ticket")
    try:
        ticket = decode(match[1])
    except NotBase64Url:
        ticket = b""
    if len(ticket) != TICKET_BYTES:
        raise bad_token("Authorization", f"must have a ticket of {TICKET_BYTES} bytes in base64url without padding")
    return hashlib.sha256(_ID_LABEL + ticket).digest()[:TICKET_ID_BYTES]


def parse_sealed_delivery(body: bytes) -> SealedBody:
    """Raises `Refused`."""
    return parse_usual_sealed_delivery(body) or parse_any_sealed_delivery(body)


def parse_usual_sealed_delivery(body: bytes) -> SealedBody | None:
    """A body of the usual form in a fraction of the time. None of any other, which may be good or bad."""
    match = _USUAL.fullmatch(body.decode("latin-1"))
    if match is None:
        return None
    message_id, first, ttl, receipt, last = match.groups()
    delivery, to = usual_delivery_of(message_id, ttl, receipt), first or last
    return SealedBody(delivery, to) if delivery and to and not (first and last) and _is_address(to) else None


def parse_any_sealed_delivery(body: bytes) -> SealedBody:
    """Every body that is taken. Raises `Refused`."""
    members = members_of(body, {"message_id", "to", "ttl", "receipt"})
    if "to" not in members:
        raise bad_request("to", "is missing: a delivery with a ticket names the recipient's address")
    to = text_of(members, "to")
    if not is_app_address(to):
        raise bad_request("to", "must be the address of the recipient's app public key")
    return SealedBody(delivery_of(members), to)


def parse_sheet(body: bytes, *, now: UnixTime) -> SheetBody:
    """Raises `Refused`."""
    members = members_of(body, {"week", "ids"})
    for member in ("week", "ids"):
        if member not in members:
            raise bad_request(member, "is missing")
    return SheetBody(_week(members, now), _ids(members))


def _week(members: dict[str, Any], now: UnixTime) -> int:
    week, first, last = members["week"], weeks_of(now)[0], weeks_of(now)[-1] + WEEKS_AHEAD
    if type(week) is not int or not first <= week <= last:
        rule = f"must be from {first} to {last}, in weeks of {WEEK_SECONDS:,} seconds since 1970: this one or one of"
        raise bad_request("week", f"{rule} the next {WEEKS_AHEAD}")
    return week


def _ids(members: dict[str, Any]) -> tuple[bytes, ...]:
    try:
        raw = decode(text_of(members, "ids"))
    except NotBase64Url:
        raise bad_request("ids", "must be base64url without padding") from None
    count, rest = divmod(len(raw), TICKET_ID_BYTES)
    if rest or count not in SHEET_SIZES:
        sizes = ", ".join(f"{size:,}" for size in SHEET_SIZES)
        raise bad_request(
            "ids", f"must have {TICKET_ID_BYTES} bytes for each ticket, and as many tickets as one of {sizes}"
        )
    ids = tuple(raw[at : at + TICKET_ID_BYTES] for at in range(0, len(raw), TICKET_ID_BYTES))
    if any(one >= other for one, other in itertools.pairwise(ids)):
        raise bad_request("ids", "must be in ascending order, and have no id twice")
    return ids
