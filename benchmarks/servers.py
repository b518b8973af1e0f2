"""The servers that are measured, each a process of its own on the server's core."""

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import Build, this_build
from benchmarks.pinning import pinned, server_core
from inbox_server.config.secret import write_secret
from tests.support.serving import Deployment, free_port

_STOP_SECONDS: Final = 30
_SETTINGS: Final[dict[str, Any]] = {
    "server.admin_listen": "",
    "names.services": [],
    "registration.mode": "open",
    "registration.open_to_keys": True,
    "registration.open_per_hour": 1_000_000,
    "limits.inbox_entries": 10_000_000,
    "limits.inbox_bytes": 1 << 40,
}
UNLIMITED: Final = {"limits.sender_per_hour": 0, "limits.inbox_per_hour": 0, "limits.network_per_hour": 0}
SECRET: Final = bytes(range(32))


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


def deployment(folder: Path, settings: Mapping[str, Any] = UNLIMITED, *, port: int = 0) -> Deployment:
    """An inbox server that refuses nobody. Its file has only keys that differ, so that older builds read it too."""
    port = port or free_port()
    url = {"server.public_url": f"http://127.0.0.1:{port}", "server.listen": f"127.0.0.1:{port}"}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in (_SETTINGS | url | dict(settings)).items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text("".join(lines))
    write_secret(folder / "secret", SECRET)
    return Deployment(folder, port)


def serve_command(deployed: Deployment, build: Build, module: str = "inbox_server") -> list[str]:
    return build.command(module, "serve", "--config", str(deployed.folder / "config.toml"))


@contextlib.contextmanager
def inbox_server(
    deployed: Deployment,
    build: Build | None = None,
    *,
    module: str = "inbox_server",
    pin: bool = True,
    until: str = "listens at",
) -> Iterator[Server]:
    """`inbox-server serve` of a build, or else of this one, once it said so. `module` is what is run.

    Without `pin` it may use all cores.
    """
    build = build or this_build()
    with launched(serve_command(deployed, build, module), build.environment(), pin=pin) as process:
        _wait_until_it_says(process, until)
        yield Server(process.pid, deployed.port, deployed.data)


@contextlib.contextmanager
def bare_server(folder: Path, answer: dict[str, Any] | None = None) -> Iterator[Server]:
    """The baseline; `answer` is what a GET answers."""
    path, port = folder / "answer.json", free_port()
    path.write_text(json.dumps(answer or {"headers": {}, "body": ""}))
    build = this_build()
    command = build.command("benchmarks.bare", str(port), str(path))
    with launched(command, build.environment()) as process:
        _wait_until_it_says(process, "listens at")
        yield Server(process.pid, port, folder)


@contextlib.contextmanager
def launched(
    command: Sequence[str], environment: Mapping[str, str], *, pin: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A process on the server's core, or on all of them, ended at the end."""
    command = pinned(command, server_core()) if pin else command
    with subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _wait_until_it_says(process: subprocess.Popen[str], text: str) -> None:
    """Raises AssertionError with what it said instead."""
    assert process.stdout
    said = ""
    while text not in said:
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
