"""This server, measured like the others: each item is a delivery of its own, with a token that was signed before."""

import sys
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.builds import this_build
from benchmarks.latency import opening, stored
from benchmarks.load import Ask, Open
from benchmarks.peers.contract import ITEM_BYTES, RECIPIENTS
from benchmarks.servers import Server, deployment, serve_command
from benchmarks.settling import settle, unread
from benchmarks.signing import deliveries, people

_SIGNED_PER_SECOND: Final = 15_000  # more than it takes; a run that ends early would be no less true


class Ours:
    """All its inboxes take anyone's."""

    name = "inbox-server"
    program = sys.executable
    package = "this folder"

    def __init__(self, promise: str) -> None:
        self.promise = promise
        self._owners, self._senders = people(RECIPIENTS), people(RECIPIENTS)

    def version(self, program: Path) -> list[str]:
        return [str(program), "-m", "inbox_server", "--version"]

    def command(self, program: Path, folder: Path, port: int) -> list[str]:  # noqa: ARG002 — it is this Python
        return serve_command(deployment(folder, port=port), this_build())

    def settle(self, port: int) -> None:
        settle(_server(port), self._owners)

    def opening(self, port: int) -> Open:
        return opening(_server(port))

    def requests(self, port: int, seconds: float) -> Ask:
        endless = deliveries(self._senders, self._owners, _server(port).url, ITEM_BYTES)
        signed = iter(list(islice(endless, int(_SIGNED_PER_SECOND * seconds))))
        return lambda _: next(signed, b"")

    def whole(self, answer: bytes) -> bool:
        return stored(answer)

    def kept(self, port: int) -> int:
        return unread(_server(port), self._owners)


def _server(port: int) -> Server:
    return Server(0, port, Path())
