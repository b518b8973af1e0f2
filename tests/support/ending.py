"""The end of a process that a test started."""

import asyncio


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill it if it still runs, and wait until it is gone.

    The loop of a test must not close before that: a later test would get the warnings.
    """
    if process.returncode is None:
        process.kill()
    await process.communicate()
