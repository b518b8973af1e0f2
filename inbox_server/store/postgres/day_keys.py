"""Keys for texts, one for each day: once a day is over, what expired on it can be opened by nobody.

Deleting does not erase here: a write-ahead log, a standby and a backup keep what was written to the database. So texts
are sealed before they go there, under the key of the day on which they expire. Each key comes from the state of its
day, and each state from the one before, by a hash that cannot be turned around. The state of today stands in a file
outside the database, and is written over with the next one. Every host has that file, and moves it on by itself.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inbox_server.errors import CommandFailed
from inbox_server.synced_files import write_new_file

STATE_BYTES: Final = 32
_COPY_BYTES: Final = 4096  # each of the two in the file has blocks of its own
_STATE: Final = re.compile(rb"(\d{1,6}) ([0-9a-f]{64}) ")
_MOST_DAYS: Final = 20_000  # how far a state is moved on: more is a clock that is wrong


class BadDayKeys(CommandFailed):
    """The file cannot be used; the message says why and what to do."""


class KeyGone(Exception):
    """The day is over, and its key cannot be made any more."""


class DayKeys:
    """The keys from a day on. A day is a number of days since 1970, UTC."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `BadDayKeys`."""
        self._path = path
        self._keys: dict[int, bytes] = {}
        self.day, self._state = _read(path)
        self._last = self.day, self._state
        self._of_file: Sequence[DayKeys] = (self,)

    def share_file(self, of_file: "Sequence[DayKeys]") -> None:
        """All of these, of the same file and one for each database, have to move on before the file does."""
        self._of_file = of_file

    def key(self, day: int) -> bytes:
        """The key of a day, 32 bytes. Raises `KeyGone`."""
        key = self._keys.get(day)
        if key is None:
            key = self._keys[day] = hashlib.sha256(b"seal" + self._state_of(day)).digest()
        return key

    def check(self, day: int) -> bytes:
        """Tells whether another file is of the same chain, and says nothing of its keys. Raises `KeyGone`."""
        return hashlib.sha256(b"check" + self._state_of(day)).digest()

    def move_on(self, day: int) -> None:
        """Forget all keys of the days before this one, also in the file. Raises OSError."""
        if day <= self.day:
            return
        self._state, self.day = self._state_of(day), day
        self._keys = {each: key for each, key in self._keys.items() if each >= day}
        if self._last[0] < day:
            self._last = self.day, self._state
        _write_over(self._path, *min((each.day, each._state) for each in self._of_file))  # noqa: SLF001 — ours

    def _state_of(self, day: int) -> bytes:
        if day < self.day:
            raise KeyGone(day)
        if day - self.day > _MOST_DAYS:
            raise ValueError("the day is too far ahead")
        last, state = self._last if self._last[0] <= day else (self.day, self._state)
        for _ in range(last, day):
            state = hashlib.sha256(b"next" + state).digest()
        if day > self._last[0]:
            self._last = day, state
        return state


def make_day_keys(path: Path, day: int, state: bytes) -> None:
    """Write the file for a new database; `state` is 32 random bytes. Raises FileExistsError and other OSErrors."""
    write_new_file(path, _line(day, state) * 2, mode=0o600)


def _line(day: int, state: bytes) -> bytes:
    text = f"{day} {state.hex()}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n".encode().ljust(_COPY_BYTES, b"\n")


def _read(path: Path) -> tuple[int, bytes]:
    """The later of the two states in the file: a power cut can have spoilt one of them, never both."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadDayKeys(f"{path} cannot be read: {error.strerror}. {_ADVICE}") from None
    states = []
    for copy in (content[:_COPY_BYTES], content[_COPY_BYTES:]):
        found = _STATE.match(copy)
        state = (int(found[1]), bytes.fromhex(found[2].decode())) if found else None
        if state and copy == _line(*state):
            states.append(state)
    if not states:
        raise BadDayKeys(f"{path} is damaged. {_ADVICE}")
    return max(states)


_ADVICE: Final = (
    "It holds the keys of the texts in the database. Copy the file from another host of this database; without it, what"
    " is unread cannot be opened: docs/postgresql.md, The day keys are lost"
)


def _write_over(path: Path, day: int, state: bytes) -> None:
    """Write both copies over in place, one after the other, so that the old state is nowhere any more."""
    number = os.open(path, os.O_WRONLY)
    try:
        for place in (0, _COPY_BYTES):
            os.pwrite(number, _line(day, state), place)
            os.fsync(number)
    finally:
        os.close(number)
