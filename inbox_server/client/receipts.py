"""Receipts: an inbox server's signature that it took a delivery, checked against the key on the recipient's card.

docs/protocol.md, "Receipts".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from inbox_server.client.index import Receipt, is_receipt
from inbox_server.clock import UnixTime
from inbox_server.identity.keys import NotAKey, parse_key
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.receipts import RECEIPT_TYPE, leaf_of, root_of
from inbox_server.protocol.signed import NotSigned, read_signed


class BadReceipt(ValueError):
    """The receipt does not prove what it should. The message says why."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a receipt must be about: this server took the entry `id` for the app `address`, to live until `expires`."""

    inbox: str
    address: str
    id: str
    expires: UnixTime


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server's capability document says of receipts, logs and tickets. `key`: of its receipts, None without.

    `retention` and `entries`: how long the server keeps rows of logs, in seconds, and how many at most.
    """

    key: str | None = None
    has_log: bool = False
    retention: int = 0
    entries: int = 0
    takes_tickets: bool = False


def offers_of(document: Mapping[str, Any]) -> Offers:
    features, limits, receipts = (document.get(name) for name in ("features", "limits", "receipts"))
    if not isinstance(features, list):
        return Offers()
    tickets = "sealed" in features
    if not isinstance(limits, dict) or not isinstance(receipts, dict):
        return Offers(takes_tickets=tickets)
    try:
        key = parse_key(receipts["key"]).hex
    except (NotAKey, LookupError, TypeError):
        return Offers(takes_tickets=tickets)
    most = [limits.get(name) for name in ("max_retention_seconds", "log_entries")]
    retention, entries = (number if type(number) is int else 0 for number in most)
    return Offers(key if "receipts" in features else None, "log" in features, retention, entries, tickets)


@lru_cache(maxsize=256)  # the receipts of one commit have one token
def _claims(token: str, key: str) -> Mapping[str, Any] | None:
    try:
        return read_signed(token, parse_key(key), RECEIPT_TYPE)
    except (NotSigned, NotAKey):
        return None


def check_receipt(receipt: Receipt, key: str, taken: Taken) -> int:
    """The UTC day on which the server says that it has the delivery. `key` is the pinned one. Raises `BadReceipt`."""
    if not is_receipt(receipt):
        raise BadReceipt("has not the form of a receipt")
    claims = _claims(receipt["token"], key)
    if claims is None:
        raise BadReceipt("is not signed by the receipt key on the recipient's card")
    if claims.get("iss") != taken.inbox:
        raise BadReceipt("is another server's")
    leaf = leaf_of(decode(receipt["salt"]), taken.address, decode(taken.id), taken.expires)
    if claims.get("root") != encode(root_of(leaf, map(decode, receipt["path"]))):
        raise BadReceipt("is for another delivery")
    day = claims.get("day")
    if type(day) is not int or day < 0:
        raise BadReceipt("has no day")
    return day
