"""What the database's thread is asked for: units of work, some of which are done faster together."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

GROUP_LIMIT: Final = 512  # jobs that are done together

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""A unit of work. It runs in one piece on the connection's thread, so no other task's statements come in between."""


class Kind(Protocol):
    """A kind of work of which many are done faster together."""

    def alone(self, db: sqlite3.Connection, asked: Any) -> Any:
        """Do one."""

    def together(self, db: sqlite3.Connection, asked: Sequence[Any]) -> Sequence[Any | None]:
        """Do what can be done so, and return its outcomes. None for the others, of which nothing was done."""


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of work that may be done together with others of its kind that wait next to it."""

    kind: Kind
    asked: Any

    def __call__(self, db: sqlite3.Connection) -> Any:
        return self.kind.alone(db, self.asked)


@dataclass(frozen=True, slots=True)
class Job:
    """A waiting job. It changes `inbox`, if any.

    `erases` means that its old bytes must leave the files soon, and without `settles` it does not change the policy.
    """

    work: Work[Any]
    inbox: bytes | None = None
    erases: bool = False
    settles: bool = True
