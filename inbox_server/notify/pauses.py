"""When each subject was last notified of, for the server processes of a host: whichever comes first sends."""

import hashlib
import math
from typing import Final

from inbox_server.host_memory import KEY_BYTES, HostLock, HostTable

_BUCKETS: Final = 1 << 15  # 6 MiB at most, so that the subjects of several processes hardly ever crowd a bucket
_MICROSECONDS: Final = 10**6


class Pauses:
    """Times are monotonic seconds, which are the same for all processes of a host."""

    def __init__(self) -> None:
        self._lock = HostLock()
        self._sent = HostTable(_BUCKETS)

    def begin(self, channel: str, about: bytes, *, news: float, now: float, pause: float) -> float:
        """How many seconds to wait before sending a notification of what came at `news`.

        0: send it, and from now on it counts as sent. Infinity: another one was sent since then.
        """
        key = hashlib.blake2b(about, key=channel.encode(), digest_size=KEY_BYTES).digest()
        with self._lock.held():
            sent = self._sent.get(key)
            if sent is not None and sent > int(news * _MICROSECONDS):
                return math.inf
            wait = 0.0 if sent is None else max(0.0, sent / _MICROSECONDS + pause - now)
            if not wait:
                self._sent.put(key, max(int(now * _MICROSECONDS), 1))
        return wait
