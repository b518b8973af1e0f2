"""strace, for tests that look at what a program asks of the system."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tests.support.javascript import missing

_START_SECONDS: Final = 60  # strace makes a start slow


def need_strace() -> None:
    """Skips where nothing can be traced."""
    if shutil.which("strace") is None:
        missing("strace is not there: apt install strace")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        missing(f"strace cannot trace here: {tried.stderr.strip()}")


@contextlib.asynccontextmanager
async def traced_server(
    strace: Sequence[str], trace: Path, command: Sequence[str], *, end: signal.Signals = signal.SIGTERM
) -> AsyncIterator[None]:
    """A server under strace for as long as the context lasts; then it gets the signal `end`."""
    tracer = await asyncio.create_subprocess_exec(
        *(*strace, "-o", str(trace), "sh", "-c", 'echo $$; exec "$@"', "sh", *command), stdout=asyncio.subprocess.PIPE
    )
    assert tracer.stdout
    pid = 0
    try:
        async with asyncio.timeout(_START_SECONDS):
            pid = int(await tracer.stdout.readline())
            await tracer.stdout.readuntil(b"listens at")
        yield
    finally:
        if pid:
            os.kill(pid, end)
        else:
            tracer.kill()
        await tracer.communicate()
    assert tracer.returncode == (0 if end == signal.SIGTERM else -end)
