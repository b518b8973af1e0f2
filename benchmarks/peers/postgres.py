"""PostgreSQL: one row a transaction by a prepared statement, in its own protocol (version 3)."""

import os
import socket
import struct
import subprocess
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.load import Ask, Open
from benchmarks.peers.contract import ITEM_BYTES, RECIPIENTS, Line
from benchmarks.wrk import WrongAnswers

_ITEM: Final = b"x" * ITEM_BYTES
_PROTOCOL: Final = 3 << 16
_READY: Final = b"Z\x00\x00\x00\x05I"
_INSERT: Final = b"INSERT INTO entry (inbox, body) VALUES ($1, $2)"
_TABLE: Final = b"CREATE TABLE entry (inbox text NOT NULL, id bigserial, body text NOT NULL, PRIMARY KEY (inbox, id))"
_CONNECTIONS: Final = 100


class Postgres:
    """As it comes, which is with synchronous commits."""

    name = "PostgreSQL, a row a commit"
    program = "postgres"
    package = "postgresql (apt install postgresql)"

    def __init__(self, promise: str) -> None:
        self.promise = promise

    def version(self, program: Path) -> list[str]:
        return [str(program), "--version"]

    def command(self, program: Path, folder: Path, port: int) -> list[str]:
        """It does not run as root: for root, nobody runs it."""
        under: list[str] = []
        if os.getuid() == 0:
            under = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            subprocess.run(["chown", "nobody:nogroup", folder], check=True)  # noqa: S603, S607
        making = [
            program.resolve().with_name("initdb"),
            "-D",
            folder / "data",
            "-A",
            "trust",
            "-U",
            "bench",
            "--no-sync",
        ]
        subprocess.run([*under, *map(str, making)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        settings = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-N", str(_CONNECTIONS)]
        return [*under, str(program), "-D", str(folder / "data"), *settings]

    def settle(self, port: int) -> None:
        line = self._line(port)
        line.ask_and_close(message(b"Q", _TABLE + b"\x00"), ready)

    def opening(self, port: int) -> Open:
        def opened(_: int) -> socket.socket:
            line = self._line(port)
            line.ask(message(b"P", b"s\x00" + _INSERT + b"\x00\x00\x00") + message(b"S"), ready)
            return line.socket

        return opened

    def requests(self, port: int, seconds: float) -> Ask:  # noqa: ARG002 — all are alike
        turn = count()
        asked = [insert(b"in:%d" % number) for number in range(RECIPIENTS)]
        return lambda _: asked[next(turn) % RECIPIENTS]

    def whole(self, answer: bytes) -> bool:
        return ready(answer)

    def kept(self, port: int) -> int:
        answer = self._line(port).ask_and_close(message(b"Q", b"SELECT count(*) FROM entry\x00"), ready)
        row = answer.index(b"D", answer.index(b"T") + struct.unpack_from(">I", answer, answer.index(b"T") + 1)[0])
        (size,) = struct.unpack_from(">I", answer, row + 7)
        return int(answer[row + 11 : row + 11 + size])

    def _line(self, port: int) -> Line:
        line = Line(port)
        start = struct.pack(">I", _PROTOCOL) + b"user\x00bench\x00database\x00postgres\x00\x00"
        line.ask(struct.pack(">I", 4 + len(start)) + start, ready)
        return line


def ready(heard: bytes) -> bool:
    """Whether it waits for the next request. Raises `WrongAnswers` after an error."""
    if heard[:1] == b"E" and b"starting up" in heard:
        raise ConnectionError("it is starting up")
    if heard[:1] == b"E":
        raise WrongAnswers(heard.decode(errors="replace"))
    return heard.endswith(_READY)


def insert(inbox: bytes) -> bytes:
    """Bind, Execute and Sync."""
    values = b"".join(struct.pack(">I", len(value)) + value for value in (inbox, _ITEM))
    bind = b"\x00s\x00" + struct.pack(">HH", 0, 2) + values + struct.pack(">H", 0)
    return message(b"B", bind) + message(b"E", b"\x00" + struct.pack(">I", 0)) + message(b"S")


def message(kind: bytes, rest: bytes = b"") -> bytes:
    return kind + struct.pack(">I", 4 + len(rest)) + rest
