"""Profiles: what a name's owner signed about buckets and app keys.

A profile file is a JSON array; element 0 holds a token (a JWS by the owner's key) and, beside it, a decoded
copy that nobody signed and that we never read. Its times are ISO strings, and no client enforces its expiry, so neither
is checked here. Source: stacks.js `profileTokens.ts`.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.errors import Refused
from inbox_server.identity.addresses import NotAnAddress, hash160, is_app_address, owner_hash
from inbox_server.identity.keys import PublicKey, key_from_bytes
from inbox_server.resolver.contract import unavailable, unproven

MAX_PROFILE_BYTES: Final = 256 * 1024

# Visible ASCII without `?`, `#` and backslash; a slash at the end or none.
_BUCKET_URL: Final = re.compile(
    r"""https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?/(?:[!"$->@-\[\]-~]*/)?(?P<address>[0-9A-Za-z]+)/*"""
)


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
        signed, _, signature = token.rpartition(".")
        header, payload = (json.loads(_decode(part)) for part in signed.split("."))
        key = key_from_bytes(bytes.fromhex(payload["issuer"]["publicKey"]))
        if header["alg"] != "ES256K" or "crit" in header or not key.signed(signed.encode(), _decode(signature)):
            raise _not_signed()
        claim = payload["claim"]
        if not isinstance(claim, dict) or payload["subject"]["publicKey"] is None:
            raise unproven("The profile's token has no claim about a subject.")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _not_signed() from None
    if not _belongs(key, owner):
        raise unproven("The profile is not signed by a key of the name's owner.")
    return claim


def _not_signed() -> Refused:
    return unproven("The profile is not an array whose first element holds a well-signed ES256K token.")


def _decode(part: str) -> bytes:
    """base64url as wallets of all ages wrote it, with padding or without."""
    return base64.urlsafe_b64decode(part + "==")


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


def _belongs(key: PublicKey, owner: str) -> bool:
    """Whether `owner` is this key's address: c32 or base58, of the compressed or the uncompressed form."""
    try:
        owner_digest = owner_hash(owner)
    except NotAnAddress:
        raise unproven("The name's owner is not the address of a single key, so no profile can be checked.") from None
    return any(hash160(form) == owner_digest for form in (bytes.fromhex(key.hex), key.uncompressed))
