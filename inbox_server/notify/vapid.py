"""Who we are to push services (RFC 8292): a P-256 key, and a token for each service signed with it.

The key is derived from the server's secret, so there is nothing more to keep or to back up. A server with another
secret has another key, and its old subscriptions end.
"""

from typing import Final

from inbox_server.clock import Clock, UnixTime
from inbox_server.identity.p256 import ORDER, public_point
from inbox_server.lru import Lru
from inbox_server.notify.on_demand import loaded
from inbox_server.protocol.base64url import encode

SEED_BYTES: Final = 64  # twice the size of the order, so that the reduction is unbiased
_TOKEN_SECONDS: Final = 12 * 3600  # at most 24 hours (RFC 8292 section 2); our clock may be off
_RENEW_SECONDS: Final = 6 * 3600  # Apple wants a token to be reused for at least an hour
_MOST_SERVICES: Final = 256  # there are a handful


class VapidKey:
    """`subject` is where to reach the operator: the server's public origin."""

    def __init__(self, seed: bytes, *, subject: str, clock: Clock) -> None:
        self._private = private_number(seed)
        self._subject = subject
        self._clock = clock
        self._tokens: Lru[str, tuple[UnixTime, str]] = Lru(_MOST_SERVICES)
        self.public = encode(public_point(self._private))
        """The public key in the form of a browser's `applicationServerKey`: base64url."""

    def authorization(self, origin: str) -> str:
        """The `Authorization` header for the push service at this origin; it is reused for hours."""
        now = self._clock()
        made, token = self._tokens.get(origin) or (UnixTime(0), "")
        if not 0 <= now - made < _RENEW_SECONDS:
            claims = {"aud": origin, "exp": now + _TOKEN_SECONDS, "sub": self._subject}
            token = loaded().sign(self._private, claims)
            self._tokens.keep(origin, (now, token))
        return f"vapid t={token}, k={self.public}"


def private_number(seed: bytes) -> int:
    """The private key on P-256 derived from 64 random bytes."""
    return int.from_bytes(seed, "big") % (ORDER - 1) + 1
