"""Rate limits that do not remember who: counts under a salt that is used for an hour, in memory only.

Each count is a cell of a count-min sketch (Cormode and Muthukrishnan, 2005), found by a keyed hash; only its lowest
cells are raised (Estan and Varghese, 2002). Two hours are kept, so that the limit slides. Once the salt
is gone, even a memory dump cannot answer "did X write?". A crowded sketch may count too much, but never too little.
Each kind of limit has its own sketch, so one kind cannot crowd another.
"""

import hashlib
import mmap
import struct
from collections.abc import Callable
from typing import Final, Literal

from inbox_server.clock import Clock
from inbox_server.errors import Refused

Kind = Literal["sender", "inbox", "network"]

HOUR_SECONDS: Final = 3600
_ROWS: Final = 4
_CELL_BYTES: Final = 4
# Even with 400,000 senders in an hour, a sketch of this width never counts three as one too many. All sketches of two
# hours take 12 MiB.
_CELLS: Final[dict[Kind, int]] = {"sender": 1 << 18, "inbox": 1 << 16, "network": 1 << 16}
_SALT_BYTES: Final = 16
_NUMBERS: Final = struct.Struct(f">{_ROWS}I").unpack


Cells = tuple[int, int, int, int]


class _Sketch:
    """The counts of one kind in one hour. A page of its memory is taken when a count first falls on it."""

    def __init__(self, cells: int, salt: bytes) -> None:
        self.highest = 0
        """No count is above this."""
        self._width = cells
        self._salt = salt
        self._counts = memoryview(mmap.mmap(-1, _ROWS * cells * _CELL_BYTES)).cast("I")  # a bytearray would be filled

    def find(self, what: bytes) -> Cells:
        """One cell in each row."""
        digest = hashlib.blake2b(what, key=self._salt, digest_size=_ROWS * _CELL_BYTES).digest()
        first, second, third, fourth = _NUMBERS(digest)
        width = self._width
        return first % width, width + second % width, 2 * width + third % width, 3 * width + fourth % width

    def count(self, cells: Cells) -> int:
        counts, (first, second, third, fourth) = self._counts, cells
        return min(counts[first], counts[second], counts[third], counts[fourth])

    def raise_to(self, count: int, cells: Cells) -> None:
        """Raise the lowest of these cells, which are one below."""
        counts = self._counts
        for cell in cells:
            if counts[cell] < count:
                counts[cell] = count
        if count > self.highest:
            self.highest = count


class _Hour:
    """The counts of one hour. `number` is the hour since 1970."""

    def __init__(self, number: int, salt: bytes) -> None:
        self.number = number
        self.sketches = {kind: _Sketch(cells, salt) for kind, cells in _CELLS.items()}


class RateLimits:
    """Hourly limits. `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        now = clock() // HOUR_SECONDS
        self._current = _Hour(now, random_bytes(_SALT_BYTES))
        self._previous = _Hour(now - 1, random_bytes(_SALT_BYTES))

    def check(self, *limits: tuple[Kind, bytes, int]) -> None:
        """Count one for each (kind, what, most in an hour); 0 means no limit.

        Raises `Refused` too_many; then nothing is counted.
        """
        now = self._clock()
        self._turn(now // HOUR_SECONDS)
        passed = now % HOUR_SECONDS / HOUR_SECONDS
        counted = []
        for kind, what, most in limits:
            if not most:
                continue
            sketch, previous = self._current.sketches[kind], self._previous.sketches[kind]
            cells = sketch.find(what)
            here = sketch.count(cells)
            if here + previous.highest * (1 - passed) >= most:  # else nobody's count is too high, whoever this is
                before = previous.count(previous.find(what))
                if here + before * (1 - passed) >= most:
                    wait = _wait(here, before, most, passed)
                    raise Refused(
                        "too_many", "Too many deliveries for now. Repeat the same one later.", retry_after=wait
                    )
            counted.append((sketch, here + 1, cells))
        for sketch, count, cells in counted:
            sketch.raise_to(count, cells)

    def _turn(self, hour: int) -> None:
        if hour == self._current.number:
            return
        fresh = _Hour(hour, self._random_bytes(_SALT_BYTES))
        follows = hour == self._current.number + 1
        self._previous = self._current if follows else _Hour(hour - 1, self._random_bytes(_SALT_BYTES))
        self._current = fresh


def _wait(here: int, before: int, most: int, passed: float) -> int:
    """Seconds until one more fits. The previous hour's count fades evenly; in the next hour, this hour's count does."""
    if here < most:
        return max(1, round((1 - (most - here) / before - passed) * HOUR_SECONDS) + 1)
    rest = (1 - passed) * HOUR_SECONDS
    return round(rest + (1 - most / here) * HOUR_SECONDS) + 1
