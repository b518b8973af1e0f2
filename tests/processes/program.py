"""A parent with small servers as its processes: `python -m tests.processes.program CONFIG PROCESSES`.

Each tells its number and process ID at /, ends at /exit/CODE, and hangs at /hang. A process ends with exit code 7 at
once while there is a file `broken` beside the configuration, and process 2 is not ready before `wait` there is gone.
"""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from aiohttp import web

from inbox_server.commands.terminal import reporting_failures, tell
from inbox_server.config.file import load_config
from inbox_server.http.listening import listening
from inbox_server.processes.member import Member
from inbox_server.processes.start import run_processes
from inbox_server.systemd import READY, STOPPING, giving_signs_of_life

BROKEN_CODE = 7


async def _serve(member: Member, folder: Path) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    name = f"process {member.number}"
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def who(_: web.Request) -> web.Response:
        return web.json_response({"number": member.number, "pid": os.getpid()})

    async def end(request: web.Request) -> web.Response:
        os._exit(int(request.match_info["code"]))

    async def hang(_: web.Request) -> web.Response:
        time.sleep(3600)  # noqa: ASYNC251 — that is what it is for
        raise AssertionError

    async def check() -> None:
        tell(f"{name} lives")

    app = web.Application()
    app.add_routes([web.get("/", who), web.get("/exit/{code}", end), web.get("/hang", hang)])
    async with (
        listening(app, *member.places.public),
        giving_signs_of_life(member.watchdog_seconds, check, member.line.tell),
    ):
        while member.number == 2 and (folder / "wait").exists():
            tell(f"{name} waits")
            await asyncio.sleep(0.1)
        for each in (signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(each, tell, f"{name} heard {each.name}")
        tell(f"{name} is {os.getpid()}")
        member.line.tell(READY)
        await stop.wait()
        member.line.tell(STOPPING)


def _work(member: Member, folder: Path) -> int:
    if (folder / "broken").exists():
        return BROKEN_CODE
    asyncio.run(_serve(member, folder))
    return 0


def _main() -> int:
    path, processes = Path(sys.argv[1]), int(sys.argv[2])
    work = partial(_work, folder=path.parent)
    return run_processes(load_config(path), processes, work, announce=tell, reload=lambda: tell("reloading"))


if __name__ == "__main__":
    sys.exit(reporting_failures(_main))
