"""Redis with an append-only file: XADD to one of the streams, in its own protocol (RESP 2)."""

from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.load import Ask, Open
from benchmarks.peers.contract import ITEM_BYTES, RECIPIENTS, Line
from benchmarks.wrk import WrongAnswers

_ITEM: Final = b"x" * ITEM_BYTES


class Redis:
    """`policy` is its `appendfsync`."""

    program = "redis-server"
    package = "redis-server (apt install redis-server)"

    def __init__(self, policy: str, promise: str) -> None:
        self.name = f"Redis, appendfsync {policy}"
        self.promise = promise
        self._policy = policy

    def version(self, program: Path) -> list[str]:
        return [str(program), "--version"]

    def command(self, program: Path, folder: Path, port: int) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder), "save": "", "appendonly": "yes"}
        settings["appendfsync"] = self._policy
        return [str(program), *(word for key, value in settings.items() for word in (f"--{key}", value))]

    def settle(self, port: int) -> None:
        Line(port).ask_and_close(command_of(b"PING"), lambda answer: answer == b"+PONG\r\n")

    def opening(self, port: int) -> Open:
        return lambda _: Line(port).socket

    def requests(self, port: int, seconds: float) -> Ask:  # noqa: ARG002 — all are alike
        asked = [command_of(b"XADD", b"in:%d" % number, b"*", b"m", _ITEM) for number in range(RECIPIENTS)]
        turn = count()
        return lambda _: asked[next(turn) % RECIPIENTS]

    def whole(self, answer: bytes) -> bool:
        """An id as a bulk string: two lines."""
        if not answer.startswith(b"$"):
            raise WrongAnswers(answer.decode(errors="replace"))
        return answer.count(b"\r\n") == 2

    def kept(self, port: int) -> int:
        lengths = b"".join(command_of(b"XLEN", b"in:%d" % number) for number in range(RECIPIENTS))
        answer = Line(port).ask_and_close(lengths, lambda heard: heard.count(b"\r\n") == RECIPIENTS)
        return sum(int(line) for line in answer.replace(b":", b"").split())


def command_of(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
