"""How many connections there may be, and who gives way: places are kept back, so that nobody can take them all."""

import resource
from collections import OrderedDict
from typing import Final, Protocol

_MOST_FILES: Final = 1 << 16  # where the system sets no limit
_MOST_KEPT_BACK: Final = 256  # of files: for the database, look-ups and pushes, and for those that come in one burst


class Connection(Protocol):
    def abort(self) -> None: ...


class Connections:
    """Every connection of a listener. When there are `most` and one more comes, another is cut off.

    Whoever never sent a whole request goes first, then whoever waits between two, each time the oldest; a connection
    with a request under way stays, and if all have one, the new one goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._silent: OrderedDict[Connection, None] = OrderedDict()
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._busy: OrderedDict[Connection, None] = OrderedDict()

    def came(self, connection: Connection) -> None:
        if len(self._silent) + len(self._idle) + len(self._busy) >= self._most:
            oldest = next(iter(self._silent or self._idle), connection)
            self.left(oldest)
            oldest.abort()
            if oldest is connection:
                return
        self._silent[connection] = None

    def asked(self, connection: Connection) -> None:
        """It has sent a whole request."""
        self._move(connection, self._busy)

    def answered(self, connection: Connection) -> None:
        """It has its answers, and may ask again."""
        self._move(connection, self._idle)

    def left(self, connection: Connection) -> None:
        """It has ended, or is about to."""
        for each in (self._silent, self._idle, self._busy):
            each.pop(connection, None)

    def _move(self, connection: Connection, to: OrderedDict[Connection, None]) -> None:
        known = any(connection in each for each in (self._silent, self._idle, self._busy))
        self.left(connection)
        if known:  # what was cut off may still have a last word under way
            to[connection] = None


def most_connections() -> int:
    """So many as the files that this process may open, but for those that are kept back."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = _MOST_FILES
    return files - min(_MOST_KEPT_BACK, files // 4)
