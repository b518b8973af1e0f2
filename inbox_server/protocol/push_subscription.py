"""A push subscription as browsers issue it: its endpoint, and the keys to encrypt to (RFC 8291)."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import encode

MAX_ENDPOINT_CHARACTERS: Final = 1024  # the longest in use, from Windows, may have this many
POINT_BYTES: Final = 65  # RFC 8291 section 3.1: uncompressed
AUTH_BYTES: Final = 16  # RFC 8291 section 3.2
SHORT_ID_CHARACTERS: Final = 16  # 96 bits of a hash: enough to tell eight apart, and hard to guess
_NEVER: Final = UnixTime(0)


@dataclass(frozen=True, slots=True)
class Subscription:
    """`endpoint` is ASCII; `p256dh` has `POINT_BYTES`, `auth` has `AUTH_BYTES`."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)
    since: UnixTime = _NEVER
    """The beginning of the day on which it was last subscribed."""

    @property
    def short_id(self) -> str:
        """Its ID in a list: anyone who has the endpoint can compute it, but nobody can reverse it."""
        return encode(hashlib.sha256(self.endpoint.encode("ascii")).digest())[:SHORT_ID_CHARACTERS]


def is_point(raw: bytes) -> bool:
    """Whether this is a public key that can be encrypted to: an uncompressed point on P-256."""
    if len(raw) != POINT_BYTES:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return False
    return True
