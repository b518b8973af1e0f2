"""Every snippet of docs/reading-the-stream.md, run with its pinned library against a server (`make readers`)."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.tokens_and_cards import owner_token
from inbox_server.clock import system_clock
from tests.conftest import APP
from tests.support.edges import LiveServer, serving
from tests.support.javascript import search_path

_HERE: Final = Path(__file__).parent
_DOCUMENT: Final = _HERE.parent.parent / "docs" / "reading-the-stream.md"
_ENTRIES: Final = 150  # more than one event
_SECONDS: Final = 20
_SNIPPET: Final = re.compile(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```(js|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def install(folder: Path) -> None:
    (folder / "package.json").write_bytes((_HERE / "package.json").read_bytes())
    await _run(sys.executable, "-m", "venv", str(folder / "venv"))
    pip = (str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check")
    await asyncio.gather(
        _run(*pip, "-r", str(_HERE / "requirements.txt")),
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)),
    )


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PATH": search_path()})
    assert await process.wait() == 0, command


async def read(folder: Path, language: str, snippet: str, environment: dict[str, str]) -> set[str]:
    """The ids that a snippet prints, until they are all there."""
    script = folder / ("snippet.mjs" if language == "js" else "snippet.py")
    script.write_text(snippet)
    program = "node" if language == "js" else str(folder / "venv/bin/python")
    process = await asyncio.create_subprocess_exec(
        program,
        str(script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": search_path(), **environment},
        start_new_session=True,  # the wheel's node is a script that starts another process
    )
    assert process.stdout is not None
    ids: set[str] = set()
    try:
        async with asyncio.timeout(_SECONDS):
            while len(ids) < _ENTRIES and (line := await process.stdout.readline()):
                ids.add(line.decode().strip())
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return ids


async def fill(server: LiveServer, owner: AppKey) -> set[str]:
    await Inbox(server.session, server.url, APP, owner, system_clock).claim({"accept": "anyone"})
    sender = AppKey(bytes([2]) * 32)
    inbox = Inbox(server.session, server.url, APP, sender, system_clock)
    ids = set()
    for number in range(_ENTRIES):
        answer = await inbox.deliver(f"{number:0>816}", sender=sender.public, recipient=owner.public)
        ids.add(str(answer["id"]))
    return ids


async def main() -> None:
    snippets = _SNIPPET.findall(_DOCUMENT.read_text())
    assert len(snippets) == 5, [name for name, _, _ in snippets]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await install(folder)
        async with serving(folder / "server", clock=system_clock) as server:
            owner = AppKey(bytes([1]) * 32)
            ids = await fill(server, owner)
            token = owner_token(owner, scope="read", app=APP, inbox=server.url, now=system_clock(), seconds=3000)
            for library, language, snippet in snippets:
                found = await read(folder, language, snippet, {"URL": server.url, "TOKEN": token})
                assert found == ids, f"{library}: {len(found)} of {len(ids)}"
                sys.stdout.write(f"ok       {library}: {len(found)} entries\n")


if __name__ == "__main__":
    asyncio.run(main())
