"""What a client signs and writes: bearer tokens, the inbox card, the encrypted message ID. No I/O."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import encrypt
from inbox_server.client.pairs import SHORT_BYTES, Pair
from inbox_server.client.sealed import BadOffer, Offer, offer_in
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key
from inbox_server.identity.names import is_origin, parse_sender
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.strict_json import NotStrict, is_whole, parse_object

TOKEN_SECONDS: Final = 300
CARD_TYPE: Final = "inbox-card+jwt"
CARD_FILE: Final = "inbox.json"
KEY_FILE: Final = "key.json"
NO_CARD: Final = b"{}"
"""Replaces the card of an owner who has no inbox any more, because not every hub deletes files."""
MAX_CARD_SECONDS: Final = 400 * DAY_SECONDS
_MAX_INBOXES: Final = 3
_NEVER: Final = UnixTime(0)
MESSAGE_ID: Final = re.compile(r"[0-9a-f]{32}")
_POINTER_BYTES: Final = 415  # encrypted with base64, always 816 characters: the size tells nothing
_MOST_N: Final = (1 << 53) - 1  # the largest whole number that every JSON library reads exactly


class BadCard(ValueError):
    """The inbox card cannot be trusted; the message says why."""


class CardNotWhole(BadCard):
    """The file is empty or incomplete: it is being written, or its upload was cut off. It may be complete soon."""


class CardNotNow(BadCard):
    """The card is good, but not at this time."""


@dataclass(frozen=True, slots=True)
class Card:
    """Where an owner accepts deliveries. `seq` only grows: a lower one than seen before means a replay."""

    inboxes: tuple[str, ...]
    seq: int
    expires: UnixTime = field(default=_NEVER, compare=False)
    receipt_keys: tuple[str | None, ...] = ()
    """For each inbox, the key of its server's receipts, 66 hex characters; None if it has none. Or empty."""
    offer: Offer | None = None
    """Of tickets, if there are any."""

    def receipt_key(self, inbox: str) -> str | None:
        return dict(zip(self.inboxes, self.receipt_keys, strict=False)).get(inbox)


@dataclass(frozen=True, slots=True)
class Link:
    """A pointer's place among those of its pair. Two devices of one sender may use a number twice.

    `prev` is the short hash of the pointer before, zeros if that is not known; `mac` is the pair's. 16 bytes each.
    """

    n: int
    prev: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Pointer:
    """A decrypted message ID. `sender` is a claim until the message's envelope is verified.

    `url` is the bucket's and ends with a slash. It is set if the sender is a bare key, whose bucket no name leads to.
    """

    id: str
    sender: str
    app: str
    url: str = ""
    link: Link | None = None


def deliver_token(key: AppKey, body: bytes, *, sender: str, recipient: str, app: str, inbox: str, now: UnixTime) -> str:
    """A token for `POST /v1/messages` with exactly this body. `sender` is a name, or the key itself in hex."""
    claims: dict[str, Any] = {
        "iss": sender,
        "sub": recipient,
        "app": app,
        "aud": inbox,
        "digest": encode(hashlib.sha256(body).digest()),
        "iat": now,
        "exp": now + TOKEN_SECONDS,
    }
    if sender != key.public:
        claims["key"] = key.public
    return key.token(claims, "inbox-deliver+jwt")


def owner_token(
    key: AppKey, *, scope: str, app: str, inbox: str, now: UnixTime, body: bytes = b"", seconds: int = TOKEN_SECONDS
) -> str:
    """A token for an owner's requests; `scope` is read, ack or settings."""
    claims: dict[str, Any] = {
        "iss": key.public,
        "app": app,
        "aud": inbox,
        "scope": scope,
        "iat": now,
        "exp": now + seconds,
    }
    if scope != "read":
        claims["digest"] = encode(hashlib.sha256(body).digest())
    return key.token(claims, "inbox-owner+jwt")


def make_card(
    key: AppKey,
    inboxes: tuple[str, ...],
    *,
    seq: int,
    now: UnixTime,
    receipt_keys: tuple[str | None, ...] = (),
    offer: Offer | None = None,
) -> bytes:
    """The content of `inbox.json`. `receipt_keys`: one for each inbox, or none at all."""
    claims: dict[str, Any] = {"iss": key.public, "inboxes": list(inboxes), "seq": seq}
    if any(receipt_keys):
        claims["receipt_keys"] = list(receipt_keys)
    if offer:
        claims["sealed"] = {"per": offer.per, "edition": offer.edition}
    claims |= {"iat": now, "exp": now + MAX_CARD_SECONDS}
    return json.dumps({"card": key.token(claims, CARD_TYPE)}).encode()


def read_card(body: bytes, *, address: str, now: UnixTime | None) -> Card:
    """The card in a file of the bucket at `address`. Raises `BadCard` unless that bucket's key signed it.

    `now` is None for the own card: it shows what was published, even if it has expired.
    """
    if not is_whole(body):
        raise CardNotWhole("is empty or breaks off: it is being written, or an upload was cut off")
    if body.strip() == NO_CARD:
        raise BadCard("was withdrawn: its owner gave all inboxes up")
    try:
        token = parse_object(body)["card"]
        header, payload, signature = token.split(".")
        if parse_object(decode(header)) != {"typ": CARD_TYPE, "alg": "ES256K"}:
            raise BadCard("is not an inbox card")
        claims = parse_object(decode(payload))
        key = parse_key(claims["iss"])
        signed = key.signed(f"{header}.{payload}".encode(), decode(signature))
        inboxes, seq, issued, expires = (claims[name] for name in ("inboxes", "seq", "iat", "exp"))
    except (NotStrict, NotBase64Url, NotAKey, LookupError, ValueError, TypeError, AttributeError):
        raise BadCard("is not an inbox card") from None
    if not signed or key.address != address:
        raise BadCard("is not signed by the key of this bucket")
    if not all(type(number) is int for number in (seq, issued, expires)):
        raise BadCard("has a number that is not an integer")
    if expires > issued + MAX_CARD_SECONDS:
        raise BadCard(f"holds for more than {MAX_CARD_SECONDS // DAY_SECONDS} days")
    if not isinstance(inboxes, list) or not 1 <= len(inboxes) <= _MAX_INBOXES:
        raise BadCard("does not name one to three inboxes")
    if not all(isinstance(inbox, str) and is_origin(inbox) for inbox in inboxes):
        raise BadCard("names an inbox that is not an origin")
    if now is not None and not issued - TOKEN_SECONDS <= now < expires:
        raise CardNotNow("has expired, or is not valid yet")
    try:
        offer = offer_in(claims)
    except BadOffer:
        raise BadCard("says of sealed delivery what this protocol does not have") from None
    return Card(tuple(inboxes), seq, UnixTime(expires), _receipt_keys(claims, len(inboxes)), offer)


def _receipt_keys(claims: Mapping[str, Any], count: int) -> tuple[str | None, ...]:
    """Raises `BadCard`."""
    if "receipt_keys" not in claims:
        return ()
    keys = claims["receipt_keys"]
    why = "does not have a receipt key or null for each inbox"
    if not isinstance(keys, list) or len(keys) != count:
        raise BadCard(why)
    try:
        return tuple(None if key is None else parse_key(key).hex for key in keys)
    except (TypeError, ValueError):
        raise BadCard(why) from None


def pointer_text(pointer: Pointer) -> str:
    """A pointer's plain text with its padding, 415 bytes. Raises ValueError if it has no room."""
    members: dict[str, Any] = {"v": 1, "id": pointer.id, "from": pointer.sender, "app": pointer.app}
    if pointer.url:
        members["url"] = pointer.url
    if pointer.link:
        members |= {"n": pointer.link.n, "prev": encode(pointer.link.prev), "mac": encode(pointer.link.mac)}
    plain = json.dumps(members, separators=(",", ":"))
    if len(plain.encode()) > _POINTER_BYTES:
        raise ValueError(f"the pointer has more than {_POINTER_BYTES} bytes")
    return plain.ljust(_POINTER_BYTES)


def linked(pointer: Pointer, pair: Pair, n: int, prev: bytes) -> Pointer:
    """A copy that says which of its pair's pointers it is."""
    return replace(pointer, link=Link(n, prev, pair.mac(n, prev, pointer.id)))


def is_of_pair(pointer: Pointer, pair: Pair) -> bool:
    """Whether one of the two made the pointer; one without a link does not say."""
    link = pointer.link
    return link is None or hmac.compare_digest(link.mac, pair.mac(link.n, link.prev, pointer.id))


def make_message_id(pointer: Pointer, public: str, *, ephemeral: AppKey, iv: bytes) -> str:
    """The opaque text that an inbox stores: the pointer, padded and encrypted to the recipient; 816 characters."""
    return encrypt(public, pointer_text(pointer), ephemeral=ephemeral, iv=iv, as_base64=True)


def read_pointer(plain: str | bytes) -> Pointer:
    """Raises ValueError unless the text is a pointer of version 1, with a link or without."""
    members = parse_object(plain.encode() if isinstance(plain, str) else plain)
    version, id, sender, app, url = (members.get(name) for name in ("v", "id", "from", "app", "url"))
    if type(version) is not int or version != 1:
        raise ValueError("is not a pointer of version 1")
    if not isinstance(id, str) or not MESSAGE_ID.fullmatch(id):  # it becomes a path in the sender's bucket
        raise ValueError("has an id that is not 32 hex characters")
    if not isinstance(sender, str) or not isinstance(app, str) or not is_origin(app):
        raise ValueError("names no sender or no app")
    by_key = isinstance(parse_sender(sender), PublicKey)  # a name becomes a path at the name service
    return Pointer(id, sender, app, url if by_key and isinstance(url, str) else "", _link(members))


def _link(members: Mapping[str, Any]) -> Link | None:
    """Raises ValueError for a part of a link."""
    n, prev, mac = (members.get(name) for name in ("n", "prev", "mac"))
    if n is None and prev is None and mac is None:
        return None
    if type(n) is not int or not 1 <= n <= _MOST_N or not isinstance(prev, str) or not isinstance(mac, str):
        raise ValueError("has a part of a link only")
    link = Link(n, decode(prev), decode(mac))
    if len(link.prev) != SHORT_BYTES or len(link.mac) != SHORT_BYTES:
        raise ValueError("has a link that is not of this protocol")
    return link
