"""An app's private key: made by the user's wallet, kept by the app, never sent anywhere."""

import json
from collections.abc import Mapping
from typing import Any, Final

import coincurve

from inbox_server.identity.addresses import app_address
from inbox_server.protocol.base64url import encode

_COMPACT_BYTES: Final = 64


class AppKey:
    """`secret` has 32 bytes. In hex, wallets sometimes add `01` for "compressed"; `from_hex` takes both."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("an app private key has 32 bytes")
        self.secret = secret
        self._private = coincurve.PrivateKey(secret)
        public = self._private.public_key.format(compressed=True)
        self.public = public.hex()
        """The app public key, 66 hex characters."""
        self.address = app_address(public)
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
        return self._private.sign(message)

    def shared_x(self, public: bytes) -> bytes:
        """The x coordinate of the Diffie-Hellman point with `public`, 32 bytes, not hashed. Raises ValueError."""
        return coincurve.PublicKey(public).multiply(self.secret).format(compressed=False)[1:33]

    def token(self, claims: Mapping[str, Any], typ: str = "JWT") -> str:
        """A compact ES256K token of these claims, as jsontokens' `TokenSigner` makes them, always with a low S."""
        header = _part({"typ": typ, "alg": "ES256K"})
        signed = f"{header}.{_part(claims)}"
        # r, s and the recovery number, which tokens do not have; measured: 27 µs, where OpenSSL takes 875.
        signature = self._private.sign_recoverable(signed.encode())[:_COMPACT_BYTES]
        return f"{signed}.{encode(signature)}"


def _part(members: Mapping[str, Any]) -> str:
    return encode(json.dumps(dict(members), separators=(",", ":")).encode())
