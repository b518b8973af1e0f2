"""The two servers that are measured, each a process of its own on the server's core."""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.pinning import pinned, server_core
from tests.support.serving import Deployment, deploy, free_port

_STOP_SECONDS: Final = 30
_UNLIMITED: Final = {
    "limits__sender_per_hour": 0,
    "limits__inbox_per_hour": 0,
    "limits__network_per_hour": 0,
    "limits__inbox_entries": 10_000_000,
    "limits__inbox_bytes": 1 << 40,
}
SECRET: Final = bytes(range(32))  # what deploy() writes


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    pid: int
    port: int
    data: Path
    """Where its database is; the bare one has none."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def deployment(folder: Path, **settings: Any) -> Deployment:
    """An inbox server that refuses nobody."""
    return deploy(folder, **(_UNLIMITED | settings))


def serve_command(deployed: Deployment) -> list[str]:
    return [sys.executable, "-m", "inbox_server", "serve", "--config", str(deployed.folder / "config.toml")]


@contextlib.contextmanager
def inbox_server(deployed: Deployment) -> Iterator[Server]:
    """`inbox-server serve`, once it listens."""
    with launched(serve_command(deployed)) as process:
        _wait_until_it_listens(process)
        yield Server(process.pid, deployed.port, deployed.data)


@contextlib.contextmanager
def bare_server(folder: Path, answer: dict[str, Any] | None = None) -> Iterator[Server]:
    """The baseline; `answer` is what a GET answers."""
    path, port = folder / "answer.json", free_port()
    path.write_text(json.dumps(answer or {"headers": {}, "body": ""}))
    with launched([sys.executable, "-m", "benchmarks.bare", str(port), str(path)]) as process:
        _wait_until_it_listens(process)
        yield Server(process.pid, port, folder)


@contextlib.contextmanager
def launched(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process on the server's core, ended at the end."""
    with subprocess.Popen(  # noqa: S603
        pinned(command, server_core()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _wait_until_it_listens(process: subprocess.Popen[str]) -> None:
    """Raises AssertionError with what it said instead."""
    assert process.stdout
    said = ""
    while "listens at" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line


def ask(server: Server, request: bytes) -> tuple[dict[str, str], bytes]:
    """Send a request as it is; the headers and the body of what must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    with contextlib.closing(connection):
        head, _, _ = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        connection.request(method, target, headers=dict(line.split(": ", 1) for line in lines))
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return dict(response.getheaders()), body


def ask_json(server: Server, request: bytes) -> dict[str, Any]:
    """The document that it answers."""
    document: dict[str, Any] = json.loads(ask(server, request)[1])
    return document


def answer_of(server: Server, request: bytes) -> dict[str, Any]:
    """What the baseline has to answer for its bytes to be the same; `Date` and the length it adds itself."""
    headers, body = ask(server, request)
    added = {"Date", "Content-Length"}
    return {"headers": {name: value for name, value in headers.items() if name not in added}, "body": body.decode()}
