"""Keyed hashes: the database holds these in place of addresses, names and apps.

Names and their addresses are public, so anybody with a copy of the database could look up a plain hash. A keyed hash
needs the server's secret: without it, a copy of the database matches nobody. This does not protect against the
operator, who has both.
"""

import hmac
from typing import Final

SECRET_BYTES: Final = 32
HASH_BYTES: Final = 16


class KeyedHash:
    """HMAC-SHA256 under the server's secret, cut to 16 bytes, with a label for each use."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError("the secret must have 32 bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "KeyedHash(<secret>)"

    def inbox(self, address: str) -> bytes:
        """The inbox of an app address."""
        return self._blind(b"inbox", address.encode())

    def name(self, name: str, app: str) -> bytes:
        """A name within one app."""
        return self._blind(b"name", name.encode(), app.encode())

    def app(self, inbox: bytes, app: str) -> bytes:
        """The app that an inbox was claimed for; different for each inbox, so that users of one app do not group."""
        return self._blind(b"app", inbox, app.encode())

    def listed(self, inbox: bytes, address: str) -> bytes:
        """An address on one inbox's contact or block list."""
        return self._blind(b"list", inbox, address.encode())

    def invite(self, code: str) -> bytes:
        """A one-time invite code."""
        return self._blind(b"invite", code.encode())

    def request(self, method: str, body: bytes) -> bytes:
        """A settings request, to recognise a repeat. Keyed, because its body may hold a name that can be guessed."""
        return self._blind(b"request", method.encode(), body)

    def endpoint(self, inbox: bytes, where: str) -> bytes:
        """Where an inbox's owner is told, by whatever channel; different for each inbox."""
        return self._blind(b"push", inbox, where.encode())

    def sealing_key(self, channel: str) -> bytes:
        """The AES key that the addresses of a channel are sealed with, 32 bytes."""
        return hmac.digest(self._secret, b"seal\0" + channel.encode(), "sha256")

    def vapid_seed(self) -> bytes:
        """The seed of the key that identifies this server to push services, 64 bytes."""
        return hmac.digest(self._secret, b"vapid", "sha512")

    def check_value(self) -> bytes:
        """Kept in the database, so that a start with another secret is noticed."""
        return self._blind(b"check")

    def _blind(self, *parts: bytes) -> bytes:
        return hmac.digest(self._secret, b"\0".join(parts), "sha256")[:HASH_BYTES]
