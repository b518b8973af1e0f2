"""A real server process, as an operator starts it: `inbox-server serve` on a folder of its own."""

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from inbox_server.config.file import render_config
from inbox_server.config.secret import write_secret
from inbox_server.world.local_world import free_socket
from tests.support.ending import end
from tests.support.patience import PATIENCE_SECONDS


def free_port() -> int:
    """One that nobody has, below those that the system gives to connections: they might take it before it is used."""
    while True:
        port = 10_000 + secrets.randbelow(22_768)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


@dataclass(slots=True)
class Deployment:
    """A folder with configuration, secret and data, and where its server answers."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def command(self) -> tuple[str, ...]:
        return sys.executable, "-m", "inbox_server", "serve", "--config", str(self.folder / "config.toml")

    async def start(self, *under: str, files: Collection[int] = ()) -> asyncio.subprocess.Process:
        """The server, once it answers; `under` is a command that runs it, such as one that sets a limit.

        It gets these open files under the same numbers.
        """
        process = await asyncio.create_subprocess_exec(
            *under,
            *self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(files),
        )
        assert process.stdout
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                said = b""
                while b"listens at" not in said:
                    line = await process.stdout.readline()
                    assert line, said.decode()
                    said += line
        except BaseException:
            await end(process)
            raise
        return process

    @contextlib.asynccontextmanager
    async def running(self, *under: str, files: Collection[int] = ()) -> AsyncIterator[asyncio.subprocess.Process]:
        """The server, killed at the end if it still runs."""
        process = await self.start(*under, files=files)
        try:
            yield process
        finally:
            await end(process)


def deploy(folder: Path, **settings: Any) -> Deployment:
    """Write what `serve` needs; registration is open. `settings` override keys, as `section__key`."""
    port = free_port()
    overrides = {
        "server.public_url": json.dumps(f"http://127.0.0.1:{port}"),
        "server.listen": json.dumps(f"127.0.0.1:{port}"),
        "server.admin_listen": '""',
        "names.services": "[]",
        "registration.mode": '"open"',
        "registration.open_to_keys": "true",
        "limits.sender_per_hour": "0",
        "limits.inbox_per_hour": "0",
        **{key.replace("__", "."): json.dumps(value) for key, value in settings.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(render_config(overrides))
    write_secret(folder / "secret", bytes(range(32)))
    return Deployment(folder, port)


@contextlib.asynccontextmanager
async def on_loopback(app: web.Application) -> AsyncIterator[str]:
    """Somebody else's server, as a small application: its URL."""
    with free_socket() as bound:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, bound).start()
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            await runner.cleanup()


def client_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32))
