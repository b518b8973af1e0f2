"""Tickets for sealed delivery: what a sender and a recipient derive alike, and an owner's sheets. No I/O.

docs/protocol.md ("Tickets") defines all of it, and tests/vectors/sealed.json has vectors for other languages.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime

WEEK_SECONDS: Final = 604_800
SHEET_WEEKS: Final = 5  # this one and the next four: an owner may be away that long
LEAST_IDS: Final = 1024  # so that a few contacts look like thirty
MOST_IDS: Final = 4096
ID_BYTES: Final = 16
PER: Final = 32
"""Tickets for each contact and week, unless the owner has too many contacts."""

_SEED_BYTES: Final = 32
_TICKETS: Final = "message-inbox-ticket"
_DUMMIES: Final = "message-inbox-ticket-dummies"
_ID: Final = b"message-inbox-ticket-id"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Which sheet: one inbox server's (`origin`), for one week, in one edition of the owner's contacts."""

    origin: str
    week: int
    edition: int

    @property
    def lines(self) -> tuple[str, ...]:
        return self.origin, str(self.week), str(self.edition)


class TooManyContacts(ValueError):
    """A sheet has no room for so many tickets: give each contact fewer."""


def week_of(time: UnixTime) -> int:
    """Weeks since 1970; each begins on a Thursday at 00:00 UTC."""
    return time // WEEK_SECONDS


def seed_of(shared_x: bytes, *, sender: str, recipient: str, sheet: Sheet) -> bytes:
    """The seed of a sender's tickets on a sheet. `shared_x`: the two keys' ECDH; `sender`, `recipient`: keys in hex."""
    return _derived(shared_x, _TICKETS, sender, recipient, *sheet.lines)


def ticket_of(seed: bytes, number: int) -> bytes:
    """The ticket of this number, from 0: 32 bytes."""
    return hmac.digest(seed, number.to_bytes(8, "big"), "sha256")


def id_of(ticket: bytes) -> bytes:
    """What the server gets of a ticket before it is used, 16 bytes."""
    return hashlib.sha256(_ID + ticket).digest()[:ID_BYTES]


def ids_of(key: AppKey, contacts: Iterable[str], sheet: Sheet, per: int) -> bytes:
    """The sheet as its owner uploads it: the ids of all contacts (keys in hex) and of dummies, sorted and joined.

    The same arguments give the same bytes. Raises `TooManyContacts`, and ValueError for what is no key.
    """
    known = set(contacts)
    if len(known) * per > MOST_IDS:
        raise TooManyContacts(f"{len(known)} contacts with {per} tickets each: a sheet has at most {MOST_IDS}")
    ids = []
    for contact in known:
        seed = seed_of(key.shared_x(bytes.fromhex(contact)), sender=contact, recipient=key.public, sheet=sheet)
        ids += [id_of(ticket_of(seed, number)) for number in range(per)]
    dummies = _derived(key.secret, _DUMMIES, key.public, *sheet.lines)
    missing = max(LEAST_IDS, 1 << max(len(ids) - 1, 0).bit_length()) - len(ids)
    ids += [id_of(ticket_of(dummies, number)) for number in range(missing)]
    return b"".join(sorted(ids))


def _derived(secret: bytes, *lines: str) -> bytes:
    """HKDF-SHA256 without salt."""
    return HKDF(SHA256(), _SEED_BYTES, salt=None, info="\n".join(lines).encode()).derive(secret)
