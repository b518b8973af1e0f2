"""Who may write to a bucket: version 1 tokens of the Gaia hub, checked in the order of the real hub.

Association tokens, scopes and tokens of the time before version 1 are refused, not ignored.
"""

from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey

from inbox_server.clock import UnixTime
from inbox_server.keys import NotAKey, key_from_bytes
from inbox_server.world.refusals import HubRefused

CHALLENGE: Final = '["gaiahub","0","local.hub","blockstack_storage_please_sign"]'
# Only the signature is PyJWT's to check: the real hub looks at no other registered claim but `exp`.
_SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


def check_token(authorization: str, address: str, *, write_url: str, now: UnixTime) -> None:
    """Raises `HubRefused` unless the token, by the bucket's key, may write to the bucket at `address`."""
    if authorization[:6].lower() != "bearer" or not authorization[7:].startswith("v1:"):
        raise _invalid("Failed to parse authentication header.")
    token = authorization[10:]
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        raw_key = bytes.fromhex(claims["iss"])
        writer = key_from_bytes(raw_key).address  # an uncompressed key writes to the compressed one's bucket
        key = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), raw_key)
    except (jwt.PyJWTError, NotAKey, ValueError, LookupError, TypeError):
        raise _invalid("Failed to parse authentication header.") from None
    if writer != address:
        raise _invalid(f"Address not allowed to write on this path: {address}")
    if "scopes" in claims or "associationToken" in claims:
        raise _invalid("This local hub takes no scopes and no association tokens.")
    hub_url = claims.get("hubUrl", write_url)
    if not isinstance(hub_url, str) or hub_url.rstrip("/") != write_url:
        raise _invalid(f"The token is for the hub {hub_url}, and this is {write_url}")
    try:
        jwt.decode(token, key, algorithms=["ES256K"], options=_SIGNATURE_ONLY)
    except jwt.PyJWTError:
        raise _invalid("Failed to verify JWT: invalid signature") from None
    _check_claims(claims, now)


def _check_claims(claims: dict[str, Any], now: UnixTime) -> None:
    if claims.get("gaiaChallenge") != CHALLENGE:
        raise _invalid("Invalid gaiaChallenge text in supplied JWT")
    expires = claims.get("exp", now)
    if not isinstance(expires, (int, float)) or not expires >= now:  # not `<`, which does not hold for NaN either
        raise _invalid("Expired authentication token")


def _invalid(message: str) -> HubRefused:
    return HubRefused("ValidationError", message)
