"""Push subscriptions at rest: encrypted, all of one size, and bound to their inbox.

An endpoint is an address of somebody's browser, so a stolen database must not show it, nor whose push service it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_ENDPOINT_CHARACTERS: Final = 1024  # the longest in use, Windows', may have as many
POINT_BYTES: Final = 65  # RFC 8291 section 3.1: uncompressed
AUTH_BYTES: Final = 16  # RFC 8291 section 3.2
_NONCE_BYTES: Final = 12


class NotOurs(Exception):
    """The bytes were not sealed under this secret for this inbox."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser can be told, and the keys that it made for that."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)


class Sealer:
    """AES-256-GCM under `key`; `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def seal(self, subscription: Subscription, inbox: bytes) -> bytes:
        endpoint = subscription.endpoint.encode("ascii").ljust(MAX_ENDPOINT_CHARACTERS, b"\0")
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, subscription.p256dh + subscription.auth + endpoint, inbox)

    def open(self, sealed: bytes, inbox: bytes) -> Subscription:
        """Raises `NotOurs`."""
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], inbox)
        except (InvalidTag, ValueError):  # ValueError: too short to have a nonce
            raise NotOurs from None
        keys, endpoint = plain[: POINT_BYTES + AUTH_BYTES], plain[POINT_BYTES + AUTH_BYTES :]
        return Subscription(endpoint.rstrip(b"\0").decode("ascii"), keys[:POINT_BYTES], keys[POINT_BYTES:])


def is_point(raw: bytes) -> bool:
    """Whether this is a public key that can be encrypted to: an uncompressed point on P-256."""
    if len(raw) != POINT_BYTES:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return False
    return True
