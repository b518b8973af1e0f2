"""The bearer tokens of the protocol: which are refused and why. Cheap checks come first.

A token is a compact JWS (RFC 7515) with ES256K (RFC 8812). Header and claims are exact sets, so no library's idea of
an optional member can extend them. The tests compare with PyJWT. Nothing here touches the network.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key
from inbox_server.identity.names import Address, Name, NotAnIdentity, is_origin, parse_recipient, parse_sender
from inbox_server.lru import Lru
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.strict_json import NotStrict, parse_object

Scope = Literal["read", "ack", "settings"]

DELIVER: Final = "inbox-deliver+jwt"
OWNER: Final = "inbox-owner+jwt"

MAX_TOKEN_CHARACTERS: Final = 2048  # a typical one has about 520
CLOCK_SKEW_SECONDS: Final = 60
DELIVER_LIFE_SECONDS: Final = 300
READ_LIFE_SECONDS: Final = 3600  # every poll reuses the reading token
OWNER_LIFE_SECONDS: Final = 300
MOST_READ_TOKENS: Final = 4096  # about 1 KB each

_DELIVER_CLAIMS: Final = frozenset({"iss", "sub", "app", "aud", "digest", "iat", "exp"})
_OWNER_CLAIMS: Final = frozenset({"iss", "app", "aud", "scope", "iat", "exp"})
# Any of these marks a token that opens a Gaia bucket, or delegates the right to open one.
_GAIA_CLAIMS: Final = frozenset(
    {"gaiaChallenge", "hubUrl", "gaiaHubUrl", "associationToken", "scopes", "salt", "childToAssociate"}
)
_GAIA_CLAIM_BYTES: Final = tuple(claim.encode() for claim in _GAIA_CLAIMS)
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")


@dataclass(frozen=True, slots=True)
class _Signed:
    """What was signed, and the signature: 64 bytes that nobody has checked yet."""

    message: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliverToken:
    """A sender's right to deliver one body to one recipient. Not verified until `check_signature` has returned."""

    sender: Name | PublicKey
    recipient: Name | PublicKey | Address
    app: str
    key: PublicKey | None
    """The key that a named sender claims to sign with; None if the key must be looked up, or `sender` is the key."""
    issued: UnixTime
    _signed: _Signed

    def check_signature(self, key: PublicKey) -> None:
        """Raises `Refused` unless `key` made this token."""
        _check_signature(self._signed, key)


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
    _check_members(claims, _DELIVER_CLAIMS | {"key"} if named else _DELIVER_CLAIMS, "claims")
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
    _check_members(claims, _OWNER_CLAIMS if scope == "read" else _OWNER_CLAIMS | {"digest"}, "claims")
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
            raise _no_token()
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


def bad_token(member: str, rule: str, *, server_time: UnixTime | None = None) -> Refused:
    """The refusal of a token. It names the member and the rule: the token is the caller's own, so nothing leaks.

    `server_time` is given when the clock is the reason, so that a client can correct its own once.
    """
    return Refused("bad_token", f"`{member}` {rule}.", member=member, server_time=server_time)


def _read(authorization: str | None, expected_type: str) -> tuple[_Signed, dict[str, Any]]:
    if authorization is None:
        raise _no_token()
    match = _BEARER.fullmatch(authorization)
    if not match:
        raise bad_token("Authorization", "must be `Bearer` followed by one token")
    token = match[1]
    if token.startswith("v1:"):
        raise _gaia_token()
    parts = token.split(".")
    if len(parts) != 3:
        raise bad_token("token", "is not a compact JWS of three parts")
    raw_claims = _decode("claims", parts[1])
    if _opens_a_bucket(raw_claims):  # before the length, because one with an association token inside is long
        raise _gaia_token()
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise bad_token("token", f"has more than {MAX_TOKEN_CHARACTERS} characters")
    header = _header(parts[0])
    claims = _object("claims", raw_claims)
    _check_header(header, expected_type)
    signature = _decode("signature", parts[2])
    if len(signature) != 64:
        raise bad_token("signature", "is not 64 bytes of r and s; DER is not accepted")
    return _Signed(f"{parts[0]}.{parts[1]}".encode(), signature), claims


def _no_token() -> Refused:
    return Refused("no_token", "There is no Authorization header.")


def _opens_a_bucket(raw_claims: bytes) -> bool:
    """Whether these are a Gaia token's claims. Parsing is lenient, because wallets write floats and dates."""
    if b"\\u" not in raw_claims and not any(map(raw_claims.__contains__, _GAIA_CLAIM_BYTES)):
        return False
    try:
        claims = json.loads(raw_claims)
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and not _GAIA_CLAIMS.isdisjoint(claims)


def _gaia_token() -> Refused:
    return Refused(
        "gaia_token",
        "A Gaia hub token writes to its owner's bucket. It was not kept; if it went to anyone else, revoke it.",
    )


@lru_cache(maxsize=64)  # libraries write the same few headers; a refusal is not remembered
def _header(part: str) -> Mapping[str, Any]:
    return MappingProxyType(_object("header", _decode("header", part)))


def _check_header(header: Mapping[str, Any], expected_type: str) -> None:
    _check_members(header, frozenset({"typ", "alg"}), "header")
    if header["alg"] != "ES256K":
        raise bad_token("alg", "is not ES256K")
    if header["typ"] != expected_type:
        raise bad_token("typ", f"must be {expected_type} for this request")


def _check_members(members: Mapping[str, Any], exact: frozenset[str], part: str) -> None:
    if members.keys() == exact:
        return
    missing = sorted(exact - members.keys())
    if missing:
        raise bad_token(missing[0], "is missing")
    # The name of an extra member is the caller's own text: it is not repeated.
    raise bad_token(part, f"must have nothing but {', '.join(sorted(exact))}")


def _object(member: str, raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except NotStrict as error:
        raise bad_token(member, str(error)) from None


def _decode(member: str, part: str) -> bytes:
    try:
        return decode(part)
    except NotBase64Url:
        raise bad_token(member, "is not canonical base64url without padding") from None


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
        raise bad_token("exp", f"must be 1 to {life_seconds} seconds after `iat`")
    _check_clock(issued, expires, now)
    return issued, expires


def _check_clock(issued: UnixTime, expires: UnixTime, now: UnixTime) -> None:
    if issued > now + CLOCK_SKEW_SECONDS:
        raise bad_token("iat", f"is more than {CLOCK_SKEW_SECONDS} seconds in the future", server_time=now)
    if expires <= now - CLOCK_SKEW_SECONDS:
        raise bad_token("exp", "has passed", server_time=now)


def _time(claims: Mapping[str, Any], claim: str) -> UnixTime:
    seconds = claims[claim]
    if type(seconds) is not int:  # a bool is an int to isinstance
        raise bad_token(claim, "is not an integer number of seconds")
    return UnixTime(seconds)


def _check_digest(claims: Mapping[str, Any], body: bytes) -> None:
    if _text(claims, "digest") != digest_of(body):
        raise bad_token("digest", "is not base64url(SHA-256(body)) of the body that came")


def _check_signature(signed: _Signed, key: PublicKey) -> None:
    if not key.signed(signed.message, signed.signature):
        raise bad_token("signature", "was not made by this key over this header and these claims")
