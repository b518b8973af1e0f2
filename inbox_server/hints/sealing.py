"""Push subscriptions at rest: encrypted, all of one size, and bound to their inbox.

An endpoint is an address of somebody's browser, so a stolen database must not show it, nor whose push service it is.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inbox_server.base64url import encode
from inbox_server.clock import DAY_SECONDS, UnixTime

MAX_ENDPOINT_CHARACTERS: Final = 1024  # the longest in use, Windows', may have as many
POINT_BYTES: Final = 65  # RFC 8291 section 3.1: uncompressed
AUTH_BYTES: Final = 16  # RFC 8291 section 3.2
SHORT_ID_CHARACTERS: Final = 16  # 96 bits of a hash: enough to tell eight apart, and not to be guessed
_NONCE_BYTES: Final = 12
_DAY_BYTES: Final = 4
_NEVER: Final = UnixTime(0)


class NotOurs(Exception):
    """The bytes were not sealed under this secret for this inbox."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser can be told, and the keys that it made for that."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)
    since: UnixTime = _NEVER
    """The beginning of the day on which it was last subscribed."""

    @property
    def short_id(self) -> str:
        """What a listing calls it: whoever has the endpoint can make it, and nobody can go back."""
        return encode(hashlib.sha256(self.endpoint.encode("ascii")).digest())[:SHORT_ID_CHARACTERS]


class Sealer:
    """AES-256-GCM under `key`; `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def seal(self, subscription: Subscription, inbox: bytes) -> bytes:
        endpoint = subscription.endpoint.encode("ascii").ljust(MAX_ENDPOINT_CHARACTERS, b"\0")
        nonce = self._random_bytes(_NONCE_BYTES)
        day = (subscription.since // DAY_SECONDS).to_bytes(_DAY_BYTES, "big")
        return nonce + self._cipher.encrypt(nonce, subscription.p256dh + subscription.auth + endpoint + day, inbox)

    def open(self, sealed: bytes, inbox: bytes) -> Subscription:
        """Raises `NotOurs`."""
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], inbox)
        except (InvalidTag, ValueError):  # ValueError: too short to have a nonce
            raise NotOurs from None
        keys, rest = plain[: POINT_BYTES + AUTH_BYTES], plain[POINT_BYTES + AUTH_BYTES :]
        endpoint, day = rest[:MAX_ENDPOINT_CHARACTERS], int.from_bytes(rest[MAX_ENDPOINT_CHARACTERS:], "big")
        since = UnixTime(day * DAY_SECONDS)
        return Subscription(endpoint.rstrip(b"\0").decode("ascii"), keys[:POINT_BYTES], keys[POINT_BYTES:], since)


def is_point(raw: bytes) -> bool:
    """Whether this is a public key that can be encrypted to: an uncompressed point on P-256."""
    if len(raw) != POINT_BYTES:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return False
    return True
