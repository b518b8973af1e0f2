"""Recordings: real programs under strace, what their clients asked, and a time line that leads to the real files."""

import asyncio
import dataclasses
import json
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal

from inbox_server.http.operator_socket import SOCKET_NAME
from tests.powercut.disk import Disk, Unknown
from tests.powercut.timeline import COMMAND, LOG_INDEX, Timeline, folder_of
from tests.powercut.workload import Asked, Journal, claim_all, deliver_last, work
from tests.support.serving import deploy
from tests.support.tracing import traced_server

_QUIET_SECONDS: Final = 1  # after this long without a request the server writes nothing, but for a sweep
_RETURN_SECONDS: Final = 0.5  # a client has its answer before the call that sent it has returned
_ATTEMPTS: Final = 3  # a kill may fall into a call, which nobody can rebuild; then once more
PLACE, BEFORE, KILLED, JOURNAL = "place", "before", "killed", "journal.json"
Ending = Literal["stopped", "killed"]
_ENDS: Final[dict[Ending, signal.Signals]] = {"stopped": signal.SIGTERM, "killed": signal.SIGKILL}
LIVES: Final[tuple[Ending, ...]] = ("stopped", "killed", "stopped")


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder with what lay in `place` before, the traces, and the journal."""

    folder: Path
    timeline: Timeline
    asked: list[Asked]
    keys: dict[str, str]
    ends: list[int]
    """After how many steps each program had ended."""
    lives: list[Ending]


def program(*arguments: str | Path, plant: str = "") -> list[str]:
    """The command of the server, or of one with a planted fault."""
    module = ["tests.powercut.planted", plant] if plant else ["inbox_server"]
    return [sys.executable, "-m", *module, *map(str, arguments)]


async def record(folder: Path, seed: str, *, lives: Sequence[Ending] = LIVES, plant: str = "") -> Recording:
    """A server at work, in several lives; or what was recorded in `folder` earlier.

    Raises `Unknown` when it could not be recorded.
    """
    if recording := kept(folder):
        return recording
    for attempt in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            await _record(folder, Journal(Random(f"{seed} {attempt}")), lives, plant)
            return load(folder)
        except Unknown:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


async def _record(folder: Path, journal: Journal, lives: Sequence[Ending], plant: str) -> None:
    place = deploy(folder / PLACE, notify__jitter_seconds=86_400, limits__network_per_hour=0)
    shutil.copytree(place.folder, folder / BEFORE)
    for life, ending in enumerate(lives):
        command = program("serve", "--config", place.folder / "config.toml", plant=plant)
        async with traced_server(COMMAND, folder / f"trace-{life}", command, end=_ENDS[ending]):
            if life == 0:
                await claim_all(journal, place.url)
            await work(journal, place.url)
            if ending == "killed":
                await asyncio.sleep(_QUIET_SECONDS)
                await deliver_last(journal, place.url)
                await asyncio.sleep(_RETURN_SECONDS)
        if ending == "killed":
            shutil.copytree(place.folder, folder / KILLED, ignore=shutil.ignore_patterns(SOCKET_NAME))
        save(folder, journal, lives[: life + 1])
        _check(load(folder), place.folder)


async def run_command(
    folder: Path, before: Path, command: Callable[[Path], Sequence[str]], *, serves: bool = False
) -> Recording:
    """A program at work in a copy of `before`, where it must succeed; or what was recorded in `folder` earlier.

    `command` says how it is run in a place. One that serves is stopped when it has started. Raises `Unknown`.
    """
    if recording := kept(folder):
        return recording
    place = folder / PLACE
    shutil.copytree(before, place)
    shutil.copytree(before, folder / BEFORE)
    trace = folder / "trace-0"
    if serves:
        async with traced_server(COMMAND, trace, command(place)):
            pass
    else:
        run = (*COMMAND, "-o", str(trace), *command(place))
        tracer = await asyncio.create_subprocess_exec(*run, stdout=asyncio.subprocess.PIPE)
        await tracer.communicate()
        assert tracer.returncode == 0
    save(folder, Journal(Random(0)), ["stopped"])
    recording = load(folder)
    _check(recording, place)
    return recording


def save(folder: Path, journal: Journal, lives: Sequence[Ending]) -> None:
    asked = [dataclasses.asdict(each) for each in journal.asked]
    (folder / JOURNAL).write_text(json.dumps({"asked": asked, "keys": journal.keys, "lives": lives}))


def kept(folder: Path) -> Recording | None:
    """The recording in a folder, if there is one."""
    return load(folder) if (folder / JOURNAL).exists() else None


def load(folder: Path) -> Recording:
    """A recording that was kept. Raises `Unknown` when its traces cannot be rebuilt."""
    timeline, ends = Timeline(folder.absolute() / PLACE, folder_of(folder / BEFORE)), []
    journal = json.loads((folder / JOURNAL).read_text())
    for life in range(len(journal["lives"])):
        timeline.add((folder / f"trace-{life}").read_text().splitlines())
        ends.append(len(timeline.steps))
    asked = [Asked(**each) for each in journal["asked"]]
    return Recording(folder, timeline, asked, journal["keys"], ends, journal["lives"])


def _check(recording: Recording, place: Path) -> None:
    """That the time line with all its changes is what now lies in the folder. Raises `Unknown`."""
    disk, timeline = Disk(recording.timeline.root), recording.timeline
    disk.run(timeline.steps, len(timeline.steps))
    left = disk.left("all", Random(0))
    found = {str(path.relative_to(place)): path for path in place.rglob("*") if not path.is_socket()}
    wrong = [name for name in found.keys() ^ left.keys() if not name.endswith(LOG_INDEX)]
    wrong += [
        name
        for name in found.keys() & left.keys()
        if not name.endswith(LOG_INDEX) and left[name] != (None if found[name].is_dir() else found[name].read_bytes())
    ]
    if wrong:
        raise Unknown(f"the trace does not lead to what lies there: {', '.join(sorted(wrong))}")
