"""Who may write to a bucket: version 1 tokens of the Gaia hub, checked in the order of the real hub.

Scopes, and tokens older than version 1, are refused, not ignored.
"""

from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey

from inbox_server.clock import UnixTime
from inbox_server.identity.keys import NotAKey, key_from_bytes
from inbox_server.world.hub import Hub
from inbox_server.world.hub_refusals import HubRefused

# PyJWT checks only the signature: the only registered claim that the real hub checks is `exp`.
_SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


def check_token(authorization: str, address: str, hub: Hub) -> None:
    """Raises `HubRefused` unless the token, signed by the bucket's key, may write to the bucket at `address`."""
    if authorization[:6].lower() != "bearer" or not authorization[7:].startswith("v1:"):
        raise _invalid("Failed to parse authentication header.")
    token = authorization[10:]
    claims, writer, key = _read(token)
    _check_revocation(claims, hub.oldest_valid.get(address))
    if writer != address:
        raise _invalid(f"Address not allowed to write on this path: {address}")
    if "scopes" in claims:
        raise _invalid("This local hub takes no scopes.")
    _check_hub_url(claims, hub)
    _check_signature(token, key)
    if claims.get("gaiaChallenge") != hub.challenge:
        raise _invalid("Invalid gaiaChallenge text in supplied JWT")
    now = hub.clock()
    _check_expiry(claims.get("exp", now), now)
    voucher = _voucher(claims["associationToken"], address, now) if "associationToken" in claims else address
    if hub.rules.has_whitelist and voucher not in hub.whitelist:
        raise _invalid(f"Address {voucher} not authorized for writes")


def _read(token: str) -> tuple[dict[str, Any], str, EllipticCurvePublicKey]:
    """The claims, not yet verified, the address of the key in `iss`, and that key."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        raw_key = bytes.fromhex(claims["iss"])
        address = key_from_bytes(raw_key).address  # an uncompressed key writes to the compressed one's bucket
        return claims, address, EllipticCurvePublicKey.from_encoded_point(SECP256K1(), raw_key)
    except (jwt.PyJWTError, NotAKey, ValueError, LookupError, TypeError):
        raise _invalid("Failed to parse authentication header.") from None


def _voucher(association: Any, address: str, now: UnixTime) -> str:
    """The address whose association token says that the bucket at `address` belongs to it."""
    claims, voucher, key = _read(association)
    try:
        child = key_from_bytes(bytes.fromhex(claims["childToAssociate"])).address
    except (NotAKey, ValueError, LookupError, TypeError):
        raise _invalid("Must provide `childToAssociate` claim in JWT of association token") from None
    _check_signature(association, key)
    _check_expiry(claims.get("exp"), now)
    if child != address:
        raise _invalid("Association token child key does not match the bearer address")
    return voucher


def _check_revocation(claims: dict[str, Any], oldest: UnixTime | None) -> None:
    if oldest is None:
        return
    issued = claims.get("iat")
    if not isinstance(issued, (int, float)) or not issued >= oldest:  # not `<`, which does not hold for NaN either
        message = f"Gaia bucket requires auth token issued after {oldest} but this token was issued at {issued}"
        raise HubRefused("AuthTokenTimestampValidationError", message)


def _check_hub_url(claims: dict[str, Any], hub: Hub) -> None:
    if "hubUrl" not in claims:
        if hub.rules.requires_hub_url:
            raise _invalid("Authentication must provide a claimed hub. You may need to update blockstack.js.")
        return
    claimed = claims["hubUrl"]
    if not isinstance(claimed, str) or claimed.rstrip("/") != hub.write_url:
        raise _invalid(f"Auth token's claimed hub url '{claimed}' not found in this hubs set: [\"{hub.write_url}\"]")


def _check_signature(token: str, key: EllipticCurvePublicKey) -> None:
    try:
        jwt.decode(token, key, algorithms=["ES256K"], options=_SIGNATURE_ONLY)
    except jwt.PyJWTError:
        raise _invalid("Failed to verify JWT: invalid signature") from None


def _check_expiry(expires: Any, now: UnixTime) -> None:
    if not isinstance(expires, (int, float)) or not expires >= now:
        raise _invalid("Expired authentication token")


def _invalid(message: str) -> HubRefused:
    return HubRefused("ValidationError", message)
