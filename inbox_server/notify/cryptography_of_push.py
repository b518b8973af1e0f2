"""What notifying owners needs of the cryptographic libraries, in one module that is loaded when it is first needed.

They take 8 MB and a tenth of a second, and many servers never have a subscription. `loaded()` in `on_demand.py` gives
this module; nothing that is loaded at the start may import it.
"""

from collections.abc import Mapping
from typing import Any

import http_ece
import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def seal(key: bytes, nonce: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """AES-256-GCM."""
    return AESGCM(key).encrypt(nonce, plain, bound_to)


def unseal(key: bytes, nonce: bytes, sealed: bytes, bound_to: bytes) -> bytes | None:
    """What was sealed; None if it was not sealed under this key for this purpose."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound_to)
    except (InvalidTag, ValueError):  # ValueError: too short to have a nonce
        return None


def sign(private: int, claims: Mapping[str, Any]) -> str:
    """A JWT with ES256."""
    return jwt.encode(dict(claims), _key(private), algorithm="ES256")


def encrypt(payload: bytes, *, private: int, salt: bytes, point: bytes, auth: bytes) -> bytes:
    """The body of a push message (RFC 8291)."""
    encrypted: bytes = http_ece.encrypt(
        payload, private_key=_key(private), salt=salt, dh=point, auth_secret=auth, version="aes128gcm"
    )
    return encrypted


def _key(private: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(private, ec.SECP256R1())
