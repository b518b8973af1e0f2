"""A push subscription as browsers issue it: its endpoint, and the keys to encrypt to (RFC 8291)."""

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

MAX_ENDPOINT_CHARACTERS: Final = 1024  # the longest in use, from Windows, may have this many
POINT_BYTES: Final = 65  # RFC 8291 section 3.1: uncompressed
AUTH_BYTES: Final = 16  # RFC 8291 section 3.2


@dataclass(frozen=True, slots=True)
class Subscription:
    """`endpoint` is ASCII; `p256dh` has `POINT_BYTES`, `auth` has `AUTH_BYTES`."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)


def is_point(raw: bytes) -> bool:
    """Whether this is a public key that can be encrypted to: an uncompressed point on P-256."""
    if len(raw) != POINT_BYTES:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return False
    return True
