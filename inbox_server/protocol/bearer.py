"""The bearer token in an Authorization header: a compact JWS (RFC 7515) with ES256K (RFC 8812), taken apart strictly.

Header and claims must be strict JSON in canonical base64url, and the header an exact set, so that no library's idea of
an optional member can extend it. What the claims say, and who signed them, is for `tokens.py`.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.protocol.base64url import NotBase64Url, decode
from inbox_server.protocol.strict_json import NotStrict, parse_object

DELIVER: Final = "inbox-deliver+jwt"
OWNER: Final = "inbox-owner+jwt"

MAX_TOKEN_CHARACTERS: Final = 2048  # a typical one has about 520
SIGNATURE_BYTES: Final = 64

# Any of these marks a token that opens a Gaia bucket, or delegates the right to open one.
_GAIA_CLAIMS: Final = frozenset(
    {"gaiaChallenge", "hubUrl", "gaiaHubUrl", "associationToken", "scopes", "salt", "childToAssociate"}
)
_GAIA_CLAIM_BYTES: Final = tuple(claim.encode() for claim in _GAIA_CLAIMS)
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")


class Signed(NamedTuple):
    """What was signed, and the signature: 64 bytes that nobody has checked yet."""

    message: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Signed(<token>)"


def read_bearer(authorization: str | None, expected_type: str) -> tuple[Signed, dict[str, Any]]:
    """What was signed, and the claims, of a token of this type. Raises `Refused`."""
    if authorization is None:
        raise no_token()
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
    if len(signature) != SIGNATURE_BYTES:
        raise bad_token("signature", "is not 64 bytes of r and s; DER is not accepted")
    return Signed(f"{parts[0]}.{parts[1]}".encode(), signature), claims


def no_token() -> Refused:
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
def check_header(part: str, expected_type: str) -> None:
    """Raises `Refused` unless this is the header of a token of this type."""
    _check_header(_header(part), expected_type)


@lru_cache(maxsize=64)
def _header(part: str) -> Mapping[str, Any]:
    return MappingProxyType(_object("header", _decode("header", part)))


def _check_header(header: Mapping[str, Any], expected_type: str) -> None:
    check_members(header, frozenset({"typ", "alg"}), "header")
    if header["alg"] != "ES256K":
        raise bad_token("alg", "is not ES256K")
    if header["typ"] != expected_type:
        raise bad_token("typ", f"must be {expected_type} for this request")


def check_members(members: Mapping[str, Any], exact: frozenset[str], part: str) -> None:
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


def bad_token(member: str, rule: str, *, server_time: UnixTime | None = None) -> Refused:
    """The refusal of a token. It names the member and the rule: the token is the caller's own, so nothing leaks.

    `server_time` is given when the clock is the reason, so that a client can correct its own once.
    """
    return Refused("bad_token", f"`{member}` {rule}.", member=member, server_time=server_time)
