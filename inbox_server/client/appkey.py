"""An app's private key: made by the user's wallet, kept by the app, never sent anywhere."""

from collections.abc import Mapping
from typing import Any

import coincurve

from inbox_server.identity.keys import SigningKey
from inbox_server.protocol.signed import write_signed


class AppKey:
    """`secret` has 32 bytes. In hex, wallets sometimes add `01` for "compressed"; `from_hex` takes both."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("an app private key has 32 bytes")
        self.secret = secret
        self._signing = SigningKey(secret)
        self.public = self._signing.public.hex
        """The app public key, 66 hex characters."""
        self.address = self._signing.public.address
        """The address of the bucket that belongs to this key."""

    def __repr__(self) -> str:
        return f"AppKey(public={self.public!r})"

    @classmethod
    def from_hex(cls, text: str) -> "AppKey":
        """64 hex characters, or 66 that end with 01. Raises ValueError."""
        if len(text) == 66 and text.endswith("01"):
            text = text[:64]
        return cls(bytes.fromhex(text))

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature over SHA-256 of the message, DER, low S."""
        return self._signing.private.sign(message)

    def shared_x(self, public: bytes) -> bytes:
        """The x coordinate of the Diffie-Hellman point with `public`, 32 bytes, not hashed. Raises ValueError."""
        return coincurve.PublicKey(public).multiply(self.secret).format(compressed=False)[1:33]

    def token(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """A compact ES256K token of these claims, as jsontokens' `TokenSigner` makes them, always with a low S."""
        return write_signed(self._signing.sign, claims, typ)
