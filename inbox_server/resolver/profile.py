"""Profiles: what a name's owner signed about buckets and app keys.

A profile file is a JSON array; element 0 holds a token (a JWS by the owner's key) and, beside it, a decoded
copy that nobody signed and that we never read. Its times are ISO strings, and no client enforces its expiry, so neither
is checked here. Source: stacks.js `profileTokens.ts`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox_server.identity.addresses import NotAnAddress, hash160, is_app_address, owner_hash
from inbox_server.resolver.contract import unavailable, unproven

MAX_PROFILE_BYTES: Final = 256 * 1024

# Visible ASCII without `?`, `#` and backslash; a slash at the end or none.
_BUCKET_URL: Final = re.compile(
    r"""https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?/(?:[!"$->@-\[\]-~]*/)?(?P<address>[0-9A-Za-z]+)/*"""
)

# PyJWT checks only the signature: its time checks refuse ISO times, and profiles have none of the other claims.
_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """One app's bucket in a profile. `url` ends with a slash; `stated_key` is `appsMeta`'s, not yet checked."""

    url: str
    address: str
    stated_key: str | None


def read_profile(body: bytes, *, owner: str) -> Mapping[str, Any]:
    """The claim of a profile that a key of `owner`, an address, signed.

    Raises `Refused` name_unproven, or `Unavailable` for a file that is not JSON: hubs serve partly uploaded files.
    """
    try:
        token = _parse(body)[0]["token"]
        stated = jwt.decode(token, options={"verify_signature": False})
        raw_key = bytes.fromhex(stated["issuer"]["publicKey"])
        key = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), raw_key)
        payload = jwt.decode(token, key, algorithms=["ES256K"], options=_SIGNATURE_ONLY)
        claim = payload["claim"]
        if not isinstance(claim, dict) or payload["subject"]["publicKey"] is None:
            raise unproven("The profile's token has no claim about a subject.")
    except (jwt.PyJWTError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise unproven("The profile is not an array whose first element holds a well-signed ES256K token.") from None
    if not _belongs(key, owner):
        raise unproven("The profile is not signed by a key of the name's owner.")
    return claim


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise unavailable("The profile is empty or not whole: it is being written, or was cut off.") from None


def find_bucket(claim: Mapping[str, Any], app: str) -> Bucket:
    """The bucket that a profile gives an app. Raises `Refused` name_unproven."""
    apps = claim.get("apps")
    url = apps.get(app) if isinstance(apps, dict) else None
    if not isinstance(url, str):
        raise unproven("The profile names no bucket for this app. Sign in to the app with `publish_data`.")
    # The whole last segment, not the last thing in the URL that looks like an address (as stacks.js searches).
    match = _BUCKET_URL.fullmatch(url)
    if match is None or not is_app_address(match["address"]):
        raise unproven("The profile's bucket for this app is not an http(s) URL that ends with a bucket address.")
    return Bucket(url.rstrip("/") + "/", match["address"], _stated_key(claim, app))


def _stated_key(claim: Mapping[str, Any], app: str) -> str | None:
    apps_meta = claim.get("appsMeta")
    of_app = apps_meta.get(app) if isinstance(apps_meta, dict) else None
    key = of_app.get("publicKey") if isinstance(of_app, dict) else None
    return key if isinstance(key, str) else None


def _belongs(key: EllipticCurvePublicKey, owner: str) -> bool:
    """Whether `owner` is this key's address: c32 or base58, of the compressed or the uncompressed form."""
    try:
        owner_digest = owner_hash(owner)
    except NotAnAddress:
        raise unproven("The name's owner is not the address of a single key, so no profile can be checked.") from None
    forms = (PublicFormat.CompressedPoint, PublicFormat.UncompressedPoint)
    return any(hash160(key.public_bytes(Encoding.X962, form)) == owner_digest for form in forms)
