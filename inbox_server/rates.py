"""How often, without remembering who: counts under a salt that lives for an hour, in memory only.

Each count is a cell of a count-min sketch (Cormode and Muthukrishnan, 2005), found by a keyed hash. Two hours are kept,
so that the limit slides; with the salt goes the last way to ask "did X write?", even for a dump of the memory. A sketch
may count too much when it is crowded, never too little.
"""

import hashlib
from array import array
from collections.abc import Callable
from typing import Final

from inbox_server.clock import Clock
from inbox_server.errors import Refused

HOUR_SECONDS: Final = 3600
_ROWS: Final = 4
_CELLS: Final = 1 << 14  # 256 KiB for four rows of 4-byte counts; two hours are kept
_SALT_BYTES: Final = 16


class _Hour:
    """The counts of one hour. `number` is the hour since 1970."""

    def __init__(self, number: int, salt: bytes) -> None:
        self.number = number
        self._salt = salt
        self._counts = array("I", bytes(4 * _ROWS * _CELLS))

    def cells(self, what: bytes) -> list[int]:
        digest = hashlib.blake2b(what, key=self._salt, digest_size=2 * _ROWS).digest()
        return [row * _CELLS + int.from_bytes(digest[2 * row : 2 * row + 2], "big") % _CELLS for row in range(_ROWS)]

    def count(self, cells: list[int]) -> int:
        return min(self._counts[cell] for cell in cells)

    def add(self, cells: list[int]) -> None:
        for cell in cells:
            self._counts[cell] += 1


class Rates:
    """Limits by the hour. `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        now = clock() // HOUR_SECONDS
        self._current = _Hour(now, random_bytes(_SALT_BYTES))
        self._previous = _Hour(now - 1, random_bytes(_SALT_BYTES))

    def check(self, *limits: tuple[bytes, int]) -> None:
        """Count one for each (what, most in an hour); 0 is no limit.

        Raises `Refused` too_many, and then counts none.
        """
        now = self._clock()
        self._turn(now // HOUR_SECONDS)
        passed = now % HOUR_SECONDS / HOUR_SECONDS
        counted = []
        for what, most in limits:
            if not most:
                continue
            cells = self._current.cells(what)
            here, before = self._current.count(cells), self._previous.count(self._previous.cells(what))
            if here + before * (1 - passed) >= most:
                wait = _wait(here, before, most, passed)
                raise Refused("too_many", "Too many deliveries for now. Repeat the same one later.", retry_after=wait)
            counted.append(cells)
        for cells in counted:
            self._current.add(cells)

    def _turn(self, hour: int) -> None:
        if hour == self._current.number:
            return
        fresh = _Hour(hour, self._random_bytes(_SALT_BYTES))
        follows = hour == self._current.number + 1
        self._previous = self._current if follows else _Hour(hour - 1, self._random_bytes(_SALT_BYTES))
        self._current = fresh


def _wait(here: int, before: int, most: int, passed: float) -> int:
    """Seconds until one more fits: the hour before fades evenly, and this one is the hour before in the next."""
    if here < most:
        return max(1, round((1 - (most - here) / before - passed) * HOUR_SECONDS) + 1)
    rest = (1 - passed) * HOUR_SECONDS
    return round(rest + (1 - most / here) * HOUR_SECONDS) + 1
