"""Push subscriptions at rest: encrypted, all of one size, and bound to their inbox.

An endpoint is the address of somebody's browser. A stolen database must not reveal it, or which push service it uses.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.protocol.push_subscription import AUTH_BYTES, MAX_ENDPOINT_CHARACTERS, POINT_BYTES, Subscription

_NONCE_BYTES: Final = 12
_DAY_BYTES: Final = 4


class NotOurs(Exception):
    """The bytes were not sealed under this secret for this inbox."""


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
