"""The log of an inbox: a chain of hashes over what was delivered, which server and client compute alike.

Each entry has a number and an id. Whoever knows an earlier head can see that nothing before it was changed, left out or
moved. docs/protocol.md, "Receipts and the log", says what is logged.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from inbox_server.clock import DAY_SECONDS, UnixTime

HEAD_TYPE: Final = "inbox-head+jwt"
HEAD_BYTES: Final = 32
LOG_ENTRIES: Final = 60_000  # about 4 MB for an inbox; more than it may hold unread and read at the defaults
FIRST_NUMBER_BYTES: Final = 5  # random, so that numbers do not count an inbox's life
_PREFIX: Final = b"\x01message-inbox-log"


@dataclass(frozen=True, slots=True)
class LogPoint:
    """A place in the log: the number of its last entry, and the hash of everything up to there, 32 bytes."""

    n: int
    head: bytes


class LogEntry(NamedTuple):
    """`id` is the delivery's, 32 bytes."""

    n: int
    id: bytes


def next_head(head: bytes, n: int, id: bytes) -> bytes:
    """The head after entry `n`, from the head before it."""
    return hashlib.sha256(_PREFIX + head + n.to_bytes(8, "big") + id).digest()


def fold(start: LogPoint, entries: Iterable[LogEntry]) -> LogPoint:
    """Where the log is after these entries. Raises ValueError when their numbers do not follow on without a gap."""
    n, head = start.n, start.head
    for entry in entries:
        if entry.n != n + 1:
            raise ValueError(f"entry {entry.n} does not follow {n}")
        n, head = entry.n, next_head(head, entry.n, entry.id)
    return LogPoint(n, head)


def is_logged(expires: UnixTime, now: UnixTime) -> bool:
    """Whether a delivery made `now` that lives until `expires` is logged: until the end of a later UTC day."""
    return expires % DAY_SECONDS == DAY_SECONDS - 1 and expires // DAY_SECONDS > now // DAY_SECONDS
