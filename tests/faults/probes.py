"""What the tests of faults measure: what an inbox lists, what a process uses and says, and what a folder holds."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.ending import end
from tests.support.patience import PATIENCE_SECONDS
from tests.support.requests import Answer, Caller
from tests.support.serving import Deployment, deploy, free_port

_ESTABLISHED, _CLOSE_WAIT = "01", "08"


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment that also tells whether it is up and ready."""

    place: Deployment
    admin_url: str

    async def health(self, caller: Caller) -> Answer:
        return await replace(caller, url=self.admin_url).send("GET", "/health")

    async def ready(self, caller: Caller) -> Answer:
        return await replace(caller, url=self.admin_url).send("GET", "/ready")


def deploy_watched(folder: Path, **settings: Any) -> Watched:
    port = free_port()
    place = deploy(folder, server__admin_listen=f"127.0.0.1:{port}", **settings)
    return Watched(place, f"http://127.0.0.1:{port}")


async def listed(owner: Caller) -> list[str]:
    """Every message ID that waits, page by page."""
    texts: list[str] = []
    query: Mapping[str, Any] = {}
    while True:
        answer = await owner.unread(limit=1000, **query)
        assert answer.status == 200, answer.body
        page = answer.json()
        texts += [entry["message_id"] for entry in page["messages"]]
        if not page["more"]:
            return texts
        query = {"after": page["cursor"]}


async def said_when_stopped(process: asyncio.subprocess.Process, *, kill: bool = False) -> list[str]:
    """The lines that a server printed after it had started; it is stopped by SIGTERM, or killed."""
    if kill:
        process.kill()
    else:
        process.terminate()
    said, _ = await process.communicate()
    return [line for line in said.decode().splitlines() if not line.startswith("health, readiness")]


async def said_so_far(process: asyncio.subprocess.Process) -> bytes:
    """What a server has printed and nobody has read yet."""
    assert process.stdout
    try:
        return await asyncio.wait_for(process.stdout.read(1 << 16), 0.2)
    except TimeoutError:
        return b""


async def refused_start(place: Deployment, *command: str) -> tuple[int, str]:
    """A command that is refused, `serve` if none is given: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inbox_server", *(command or ("serve",))),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=place.folder,
    )
    assert process.stdout
    said = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await process.stdout.readline():
                said += line
                assert b"listens at" not in line, "it started"
            await process.wait()
    finally:
        await end(process)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def until(holds: Callable[[], Awaitable[bool]], *, within_seconds: float) -> None:
    """Ask again and again, because nothing outside a process can wait for what happens in it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_seconds
    while not await holds():
        assert loop.time() < end, "it did not come about"
        await asyncio.sleep(0.05)


def connections(port: int) -> int:
    """How many connections to this port of 127.0.0.1 a server has not closed (proc(5), /proc/net/tcp)."""
    local = f"0100007F:{port:04X}"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1] == local and fields[3] in (_ESTABLISHED, _CLOSE_WAIT) for fields in sockets)


def cpu_seconds(process: asyncio.subprocess.Process) -> float:
    """What the process has used so far, in user and system mode (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def digests(folder: Path) -> dict[str, str]:
    """Every file with the SHA-256 of its bytes, but what SQLite makes anew: a log's index, and a log that is empty."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.endswith("-shm")
        and not (path.name.endswith("-wal") and path.stat().st_size == 0)
    }
