"""The bearer tokens of the protocol: which are refused and why. Cheap checks come first.

Claims are exact sets, so no library's idea of an optional member can extend them. The tests compare with PyJWT.
Nothing here touches the network.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from inbox_server.clock import UnixTime
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key
from inbox_server.identity.names import Address, Name, NotAnIdentity, is_origin, parse_recipient, parse_sender
from inbox_server.lru import Lru
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.bearer import DELIVER, OWNER, Signed, bad_token, check_members, no_token, read_bearer
from inbox_server.protocol.usual_bearer import read_usual_bearer

Scope = Literal["read", "ack", "settings"]

CLOCK_SKEW_SECONDS: Final = 60
DELIVER_LIFE_SECONDS: Final = 300
READ_LIFE_SECONDS: Final = 3600  # every poll reuses the reading token
OWNER_LIFE_SECONDS: Final = 300
MOST_READ_TOKENS: Final = 4096  # about 1 KB each
_MILLISECONDS: Final = 10**11  # the year 5138 in seconds, 1973 in milliseconds

_DELIVER_CLAIMS: Final = frozenset({"iss", "sub", "app", "aud", "digest", "iat", "exp"})
_NAMED_DELIVER_CLAIMS: Final = _DELIVER_CLAIMS | {"key"}
_OWNER_CLAIMS: Final = frozenset({"iss", "app", "aud", "scope", "iat", "exp"})


class DeliverToken(NamedTuple):
    """A sender's right to deliver one body to one recipient. Not verified until `check_signature` has returned."""

    sender: Name | PublicKey
    recipient: Name | PublicKey | Address
    app: str
    key: PublicKey | None
    """The key that a named sender claims to sign with; None if the key must be looked up, or `sender` is the key."""
    issued: UnixTime
    signed: Signed

    def check_signature(self, key: PublicKey) -> None:
        """Raises `Refused` unless `key` made this token."""
        _check_signature(self.signed, key)


@dataclass(frozen=True, slots=True)
class OwnerToken:
    """An inbox owner's right to do one kind of thing with the inbox of `key`. Verified."""

    key: PublicKey
    app: str
    scope: Scope
    issued: UnixTime
    expires: UnixTime
    digest: str | None

    @property
    def taken_until(self) -> UnixTime:
        """The first moment at which the token is refused."""
        return UnixTime(self.expires + CLOCK_SKEW_SECONDS)

    def check_clock(self, now: UnixTime) -> None:
        """Raises `Refused` unless now is within the token's life."""
        _check_clock(self.issued, self.expires, now)


def read_deliver_token(authorization: str | None, body: bytes, *, audience: str, now: UnixTime) -> DeliverToken:
    """Check everything in a deliver token but its signature, which may need a look-up. Raises `Refused`."""
    signed, claims = _read(authorization, DELIVER)
    named = "key" in claims
    check_members(claims, _NAMED_DELIVER_CLAIMS if named else _DELIVER_CLAIMS, "claims")
    try:
        sender = parse_sender(_text(claims, "iss"))
    except NotAnIdentity as error:
        raise bad_token("iss", str(error)) from None
    try:
        recipient = parse_recipient(_text(claims, "sub"))
    except NotAnIdentity as error:
        raise bad_token("sub", str(error)) from None
    if named and isinstance(sender, PublicKey):
        raise bad_token("key", "is only for an `iss` that is a name")
    key = _key(claims, "key") if named else None
    app = _app(claims)
    _check_audience(claims, audience)
    issued, _ = _check_times(claims, DELIVER_LIFE_SECONDS, now)
    _check_digest(claims, body)
    return DeliverToken(sender, recipient, app, key, issued, signed)


def read_owner_token(
    authorization: str | None, body: bytes, *, scope: Scope, audience: str, now: UnixTime
) -> OwnerToken:
    """A verified owner token of this scope, for this body. Raises `Refused`."""
    signed, claims = _read(authorization, OWNER)
    claimed = _text(claims, "scope")
    if claimed not in ("read", "ack", "settings"):
        raise bad_token("scope", "is not one of read, ack, settings")
    if claimed != scope:
        raise bad_token("scope", f"must be {scope} for this request")
    check_members(claims, _OWNER_CLAIMS if scope == "read" else _OWNER_CLAIMS | {"digest"}, "claims")
    key = _key(claims, "iss")
    app = _app(claims)
    _check_audience(claims, audience)
    life = READ_LIFE_SECONDS if scope == "read" else OWNER_LIFE_SECONDS
    issued, expires = _check_times(claims, life, now)
    if scope != "read":
        _check_digest(claims, body)
    _check_signature(signed, key)
    return OwnerToken(key, app, scope, issued, expires, claims.get("digest"))


class ReadTokens:
    """Reading tokens that were verified. A poll sends the same one again, and then only the time needs a check.

    The key is the token's SHA-256, so no token is kept.
    """

    def __init__(self, *, audience: str, most: int = MOST_READ_TOKENS) -> None:
        self._audience = audience
        self._good: Lru[bytes, OwnerToken] = Lru(most)

    def __len__(self) -> int:
        return len(self._good)

    def read(self, authorization: str | None, now: UnixTime) -> OwnerToken:
        """A verified owner token of scope read. Raises `Refused`."""
        if authorization is None:
            raise no_token()
        mark = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        token = self._good.get(mark)
        if token is not None:
            token.check_clock(now)
            return token
        token = read_owner_token(authorization, b"", scope="read", audience=self._audience, now=now)
        self._good.keep(mark, token)
        return token


def digest_of(body: bytes) -> str:
    """base64url(SHA-256(body)) without padding: 43 characters. An empty body has a digest too."""
    return encode(hashlib.sha256(body).digest())


def _read(authorization: str | None, expected_type: str) -> tuple[Signed, dict[str, Any]]:
    return read_usual_bearer(authorization, expected_type) or read_bearer(authorization, expected_type)


def _text(claims: Mapping[str, Any], claim: str) -> str:
    if claim not in claims:
        raise bad_token(claim, "is missing")
    text = claims[claim]
    if not isinstance(text, str):
        raise bad_token(claim, "is not a string")
    return text


def _key(claims: Mapping[str, Any], claim: str) -> PublicKey:
    try:
        return parse_key(_text(claims, claim))
    except NotAKey as error:
        raise bad_token(claim, str(error)) from None


def _app(claims: Mapping[str, Any]) -> str:
    app = _text(claims, "app")
    if not is_origin(app):
        raise bad_token("app", "is not a web origin such as https://chat.example, without a slash at the end")
    return app


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    if _text(claims, "aud") != audience:
        raise bad_token("aud", f"must be exactly {audience}")


def _check_times(claims: Mapping[str, Any], life_seconds: int, now: UnixTime) -> tuple[UnixTime, UnixTime]:
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    if not 0 < expires - issued <= life_seconds:
        raise bad_token("exp", f"must be 1 to {life_seconds} seconds after `iat`{_unit(issued)}")
    _check_clock(issued, expires, now)
    return issued, expires


def _check_clock(issued: UnixTime, expires: UnixTime, now: UnixTime) -> None:
    if issued > now + CLOCK_SKEW_SECONDS:
        rule = f"is more than {CLOCK_SKEW_SECONDS} seconds in the future{_unit(issued)}"
        raise bad_token("iat", rule, server_time=now)
    if expires <= now - CLOCK_SKEW_SECONDS:
        raise bad_token("exp", "has passed", server_time=now)


def _unit(issued: UnixTime) -> str:
    """What helps who forgot that JavaScript counts milliseconds."""
    return "; these look like milliseconds, and must be seconds" if issued > _MILLISECONDS else ""


def _time(claims: Mapping[str, Any], claim: str) -> UnixTime:
    seconds = claims[claim]
    if type(seconds) is not int:  # a bool is an int to isinstance
        raise bad_token(claim, "is not an integer number of seconds")
    return UnixTime(seconds)


def _check_digest(claims: Mapping[str, Any], body: bytes) -> None:
    if _text(claims, "digest") != digest_of(body):
        raise bad_token("digest", "is not base64url(SHA-256(body)) of the body that came")


def _check_signature(signed: Signed, key: PublicKey) -> None:
    if not key.signed(signed.message, signed.signature):
        raise bad_token("signature", "was not made by this key over this header and these claims")
