"""A push subscription as browsers issue it: its endpoint, and the keys to encrypt to (RFC 8291)."""

from dataclasses import dataclass, field
from typing import Final

MAX_ENDPOINT_CHARACTERS: Final = 1024  # the longest in use, from Windows, may have this many
AUTH_BYTES: Final = 16  # RFC 8291 section 3.2


@dataclass(frozen=True, slots=True)
class Subscription:
    """`endpoint` is ASCII; `p256dh` is an uncompressed point on P-256 (RFC 8291 section 3.1)."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    auth: bytes = field(repr=False)
