"""The server of examples/second-server, which shares no code with ours, as a process of Node."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.support.ending import end
from tests.support.javascript import find_node, search_path
from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import free_port

FOLDER: Final = Path(__file__).parent.parent.parent / "examples" / "second-server"
OLDEST_NODE: Final = 22  # the first with node:sqlite


@contextlib.asynccontextmanager
async def second_server(folder: Path, *options: str, at: str = "", source: Path = FOLDER) -> AsyncIterator[str]:
    """Its URL, once it answers: `at`, or a new one. Skips, or fails in CI, without Node. Its files are in `source`.

    At the end it must stop when it is asked to, and have said nothing.
    """
    address = at.removeprefix("http://") or f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        find_node(search_path(), oldest=OLDEST_NODE),
        "--disable-warning=ExperimentalWarning",
        source / "server.mjs",
        *("--listen", address, "--database", str(folder / "second.db"), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    said = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b"listens at" not in said:
                line = await process.stdout.readline()
                assert line, said.decode()
                said += line
        yield f"http://{address}"
        process.terminate()
        said, _ = await process.communicate()
        assert (process.returncode, said.decode()) == (0, "")
    finally:
        await end(process)
