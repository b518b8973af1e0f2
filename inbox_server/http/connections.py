"""Limiting connections: some files are kept in reserve, and when all places are taken, a connection is closed."""

import resource
from collections import OrderedDict
from typing import Final, Protocol

_MOST_FILES: Final = 1 << 16  # where the system sets no limit
_MOST_KEPT_BACK: Final = 256  # files in reserve: for the database, look-ups, pushes, and bursts of connections


class Connection(Protocol):
    def abort(self) -> None: ...


class Connections:
    """All connections of a listener. When there are `most` and another arrives, one is closed.

    Connections that never sent a complete request are closed first, then idle ones, in both cases the oldest.
    A connection with a request in progress stays open. If all have one, the new connection is closed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._silent: OrderedDict[Connection, None] = OrderedDict()
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._busy: OrderedDict[Connection, None] = OrderedDict()
        self._places: dict[Connection, OrderedDict[Connection, None]] = {}
        """In which of them each connection is."""

    def came(self, connection: Connection) -> None:
        if len(self._places) >= self._most:
            oldest = next(iter(self._silent or self._idle), connection)
            self.left(oldest)
            oldest.abort()
            if oldest is connection:
                return
        self._places[connection] = self._silent
        self._silent[connection] = None

    def asked(self, connection: Connection) -> None:
        """The connection has sent a complete request."""
        self._move(connection, self._busy)

    def answered(self, connection: Connection) -> None:
        """The connection has received its answers and is idle."""
        self._move(connection, self._idle)

    def left(self, connection: Connection) -> None:
        """The connection has ended, or is about to."""
        place = self._places.pop(connection, None)
        if place is not None:
            del place[connection]

    def _move(self, connection: Connection, to: OrderedDict[Connection, None]) -> None:
        place = self._places.get(connection)
        if place is not None:  # a connection that was closed may still send its last bytes
            del place[connection]
            to[connection] = None
            self._places[connection] = to


def most_connections() -> int:
    """The number of files that this process may open, less the reserve."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = _MOST_FILES
    return files - min(_MOST_KEPT_BACK, files // 4)
