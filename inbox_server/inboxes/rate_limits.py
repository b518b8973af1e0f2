"""Rate limits that do not remember who: counts under a salt that is used for an hour, in memory only.

Each count is a cell of a count-min sketch (Cormode and Muthukrishnan, 2005), found by a keyed hash; only its lowest
cells are raised (Estan and Varghese, 2002). Two hours are kept, so that the limit slides. Once the salt
is gone, even a memory dump cannot answer "did X write?". A crowded sketch may count too much, but never too little.
Each kind of limit has its own sketch, so one kind cannot crowd another.

The server processes of a host share the salts, and each adds up what all of them counted.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Final, Literal, get_args

from inbox_server.clock import Clock
from inbox_server.errors import Refused
from inbox_server.host_memory import HostLock, clear, shared_bytes

Kind = Literal["sender", "inbox", "network"]

HOUR_SECONDS: Final = 3600
_ROWS: Final = 4
_CELL_BYTES: Final = 4
# Even with 400,000 senders in an hour, a sketch of this width never counts three as one too many. All sketches of two
# hours take 12 MiB.
_CELLS: Final[dict[Kind, int]] = {"sender": 1 << 18, "inbox": 1 << 16, "network": 1 << 16}
_SALT_BYTES: Final = 16
_HOUR_AND_SALT: Final = struct.Struct(f"=Q{_SALT_BYTES}s")
_HOUR_CELL: Final = struct.Struct("=I")
_NUMBERS: Final = struct.Struct(f">{_ROWS}I").unpack
_HOUR, _HIGHEST, _FIRST_CELL = 0, 1, 2  # what a process's part of a sketch begins with
_KEPT: Final = 3  # the current hour, the one before, and the next: a process may be a moment behind the others

Cells = tuple[int, int, int, int]


class HourlyCounts:
    """The memory of all counts, for the server processes of a host. Each process writes only its own part.

    So none waits for another, and when several count the same at the same moment, each may let one more through.
    """

    def __init__(self, processes: int = 1) -> None:
        self.lock = HostLock()
        self.salts = shared_bytes(_KEPT * _HOUR_AND_SALT.size)
        size = _CELL_BYTES * sum(_FIRST_CELL + _ROWS * width for width in _CELLS.values())
        self.parts = [[shared_bytes(size) for _ in range(processes)] for _ in range(_KEPT)]


class _Sketch:
    """The counts of one kind in one hour: a part for each process, `own` and those of the others."""

    def __init__(self, width: int, own: memoryview, others: list[memoryview], salt: memoryview) -> None:
        self._width = width
        self._own = own
        self._others = others
        self._salt = salt

    def find(self, what: bytes) -> Cells:
        """One cell in each row."""
        digest = hashlib.blake2b(what, key=self._salt, digest_size=_ROWS * _CELL_BYTES).digest()
        first, second, third, fourth = _NUMBERS(digest)
        width = self._width
        return (
            _FIRST_CELL + first % width,
            _FIRST_CELL + width + second % width,
            _FIRST_CELL + 2 * width + third % width,
            _FIRST_CELL + 3 * width + fourth % width,
        )

    def count(self, cells: Cells) -> tuple[int, int]:
        """What all processes counted, and what this one did."""
        counts, (first, second, third, fourth) = self._own, cells
        own = (counts[first], counts[second], counts[third], counts[fourth])
        here = everywhere = min(own)
        if self._others:
            rows, hour = list(own), counts[_HOUR]
            for counts in self._others:
                if counts[_HOUR] == hour:
                    rows = [row + counts[cell] for row, cell in zip(rows, cells, strict=True)]
            everywhere = min(rows)
        return everywhere, here

    def highest(self) -> int:
        """No count is above this."""
        own = self._own
        highest = own[_HIGHEST]
        for counts in self._others:
            if counts[_HOUR] == own[_HOUR]:
                highest += counts[_HIGHEST]
        return highest

    def raise_to(self, count: int, cells: Cells) -> None:
        """Raise the lowest of this process's cells, which are one below."""
        counts = self._own
        for cell in cells:
            if counts[cell] < count:
                counts[cell] = count
        if count > counts[_HIGHEST]:
            counts[_HIGHEST] = count

    def begin(self, hour: int) -> None:
        self._own[_HOUR] = hour


class _Hour:
    """The memory of one hour, as one process sees it. It is used again for a later hour."""

    def __init__(self, shared: HourlyCounts, place: int, process: int) -> None:
        self._shared = shared
        self._at = place * _HOUR_AND_SALT.size
        self._own = shared.parts[place][process]
        salt = memoryview(shared.salts)[self._at : self._at + _HOUR_AND_SALT.size][-_SALT_BYTES:]
        self.sketches: dict[Kind, _Sketch] = {}
        first = 0
        for kind in get_args(Kind):
            size = _CELL_BYTES * (_FIRST_CELL + _ROWS * _CELLS[kind])
            parts = [memoryview(part)[first : first + size].cast("I") for part in shared.parts[place]]
            own = parts.pop(process)
            self.sketches[kind] = _Sketch(_CELLS[kind], own, parts, salt)
            first += size

    def begin(self, number: int, random_bytes: Callable[[int], bytes]) -> None:
        """Count this hour, with the salt of whichever process came first. Call it with the lock held."""
        if _HOUR_AND_SALT.unpack_from(self._shared.salts, self._at)[0] != number:
            _HOUR_AND_SALT.pack_into(self._shared.salts, self._at, number, random_bytes(_SALT_BYTES))
        if self._counts() != number:  # else a process that ended began it, and this one has taken its place
            clear(self._own)
            for sketch in self.sketches.values():
                sketch.begin(number)

    def forget(self, number: int) -> None:
        """Drop the salt if it is of this hour or of one before, and what this process counted then. With the lock."""
        if _HOUR_AND_SALT.unpack_from(self._shared.salts, self._at)[0] <= number:
            _HOUR_AND_SALT.pack_into(self._shared.salts, self._at, 0, bytes(_SALT_BYTES))
        if 0 < self._counts() <= number:
            clear(self._own)

    def _counts(self) -> int:
        """The hour since 1970 that the own part counts; 0 for none."""
        number: int = _HOUR_CELL.unpack_from(self._own)[0]
        return number


class RateLimits:
    """Hourly limits. `random_bytes` is `secrets.token_bytes` outside tests.

    `shared` is the memory of all server processes of this host, and `process` is the number of this one, from 0.
    """

    def __init__(
        self,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        shared: HourlyCounts | None = None,
        process: int = 0,
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._shared = shared or HourlyCounts()
        self._hours = [_Hour(self._shared, place, process) for place in range(_KEPT)]
        self._number = -1
        self._turn(clock() // HOUR_SECONDS)

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
            here, own = sketch.count(cells)
            if here + previous.highest() * (1 - passed) >= most:  # else nobody's count is too high, whoever this is
                before, _ = previous.count(previous.find(what))
                if here + before * (1 - passed) >= most:
                    wait = _wait(here, before, most, passed)
                    raise Refused(
                        "too_many", "Too many deliveries for now. Repeat the same one later.", retry_after=wait
                    )
            counted.append((sketch, own + 1, cells))
        for sketch, count, cells in counted:
            sketch.raise_to(count, cells)

    def _turn(self, hour: int) -> None:
        if hour == self._number:
            return
        with self._shared.lock.held():
            for number in (hour - 1, hour):
                self._hours[number % _KEPT].begin(number, self._random_bytes)
            self._hours[(hour + 1) % _KEPT].forget(hour - 2)
        self._current, self._previous = self._hours[hour % _KEPT], self._hours[(hour - 1) % _KEPT]
        self._number = hour


def _wait(here: int, before: int, most: int, passed: float) -> int:
    """Seconds until one more fits. The previous hour's count fades evenly; in the next hour, this hour's count does."""
    if here < most:
        return max(1, round((1 - (most - here) / before - passed) * HOUR_SECONDS) + 1)
    rest = (1 - passed) * HOUR_SECONDS
    return round(rest + (1 - most / here) * HOUR_SECONDS) + 1
