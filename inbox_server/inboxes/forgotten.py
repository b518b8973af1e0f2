"""Which inboxes were deleted within the last minutes, for the server processes of a host.

A settings token from before a DELETE must not bring the inbox back while it is still valid.
"""

from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.host_memory import HostLock, HostTable
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS, OWNER_LIFE_SECONDS

_REPLAYABLE_SECONDS: Final = OWNER_LIFE_SECONDS + 2 * CLOCK_SKEW_SECONDS
_BUCKETS: Final = 4096


class Forgotten:
    """When the token of each DELETE was signed, by the inbox's keyed hash."""

    def __init__(self) -> None:
        self._lock = HostLock()
        self._issued = HostTable(_BUCKETS)

    def note(self, inbox: bytes, issued: UnixTime) -> None:
        with self._lock.held():
            self._issued.put(inbox, issued)

    def check(self, inbox: bytes, issued: UnixTime, now: UnixTime) -> None:
        """Raises `Refused` stale_token for a token that is older than the DELETE."""
        deleted = self._issued.get(inbox)
        if deleted is None or not -CLOCK_SKEW_SECONDS <= now - deleted < _REPLAYABLE_SECONDS:
            return
        if issued < deleted:
            raise Refused("stale_token", "The inbox was deleted after this token was signed. Sign a new one to claim.")
