"""What a peer has to say of itself to be measured, and the wire that most of them are spoken to by."""

import contextlib
import socket
from pathlib import Path
from typing import Final, Protocol

from benchmarks.load import Ask, Open, Whole

RECIPIENTS: Final = 64
ITEM_BYTES: Final = 900
_TIMEOUT_SECONDS: Final = 10
_RECEIVED: Final = 1 << 16


class Peer(Protocol):
    """A server, one way to run it, and how an item is handed over to it."""

    name: str
    """With the setting that makes the difference."""
    promise: str
    """What its acknowledgement means."""
    program: str
    package: str
    """That has the program, and how to install it."""

    def version(self, program: Path) -> list[str]:
        """The command that prints it."""

    def command(self, program: Path, folder: Path, port: int) -> list[str]:
        """What runs it, with everything that it keeps in the folder. May prepare the folder."""

    def settle(self, port: int) -> None:
        """Make room for items, once it listens. Raises OSError while it is not ready."""

    def opening(self, port: int) -> Open:
        """How a connection is opened, ready for the first item."""

    def requests(self, port: int, seconds: float) -> Ask:
        """Items of `ITEM_BYTES` for one of `RECIPIENTS` each, enough for so long a run."""

    def whole(self, answer: bytes) -> bool:
        """Whether the answer to an item is all there. Raises `WrongAnswers` if it is not a yes."""

    def kept(self, port: int) -> int | None:
        """How many items it has, if it can be asked."""


class Line:
    """A connection that says something and hears the answer, for all that is not measured."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)

    def ask(self, request: bytes, whole: Whole) -> bytes:
        """The answer, once it is whole. Raises OSError when the connection ends before, and is closed then."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.socket)
            self.socket.sendall(request)
            heard = b""
            while not whole(heard):
                more = self.socket.recv(_RECEIVED)
                if not more:
                    raise ConnectionError(f"it hung up after {heard!r}")
                heard += more
            stack.pop_all()  # it stays open
        return heard

    def ask_and_close(self, request: bytes, whole: Whole) -> bytes:
        with self.socket:
            return self.ask(request, whole)
