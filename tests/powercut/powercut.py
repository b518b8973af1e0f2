"""A server whose power goes: what it then holds against what it had answered, in as many states of the disk as wanted.

    python -m tests.powercut.powercut --states 5000

records a workload and rebuilds states of the disk from its system calls. On each a server starts, and is asked. One
state in twenty-five is met by a process of its own, the others by the same code in this one, several at a time. The
same goes for `init`, `invite`, `backup`, `restore`, `rotate-secret`, and the starts after it and after an upgrade. Exit
code 1 on any fault: then the recording is kept, and the line that is printed with the fault runs that one state again.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.powercut.judging import lay
from tests.powercut.recording import LIVES, Ending
from tests.powercut.scenarios import (
    Scenario,
    backing_up,
    beginning,
    inviting,
    killed,
    rekeying,
    restoring,
    rotating,
    serving,
    upgrading,
)
from tests.powercut.states import State, States

_MODULE: Final = "tests.powercut.powercut"
_AT_ONCE: Final = 6
_TELL_SECONDS: Final = 30
_TOLD: Final = 5  # of the states with faults, in words
SHARES: Final = {
    "serve": 0.70,
    "backup": 0.08,
    "restore": 0.08,
    "upgrade": 0.04,
    "rekey": 0.04,
    "rotate": 0.02,
    "init": 0.02,
    "invite": 0.02,
}
_RESTING_ON_A_KILLED_SERVER: Final = {
    "backup": backing_up,
    "restore": restoring,
    "upgrade": upgrading,
    "invite": inviting,
    "rotate": rotating,
    "rekey": rekeying,
}


@dataclass(slots=True)
class Figures:
    """What was seen. `told` are the first states with faults: their scenario, number, state and faults in words."""

    states: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    told: list[tuple[str, int, State, Sequence[str]]] = field(default_factory=list)

    def line(self) -> str:
        each = ", ".join(f"{name} {count}" for name, count in self.states.items())
        faults = ", ".join(f"{kind} {count}" for kind, count in self.faults.items()) or "none"
        return f"{self.states.total()} states ({each}), {self.refused} refused in words; states with faults: {faults}"


async def scenarios(
    folder: Path, seed: str, names: Sequence[str], *, lives: Sequence[Ending] = LIVES, plant: str = ""
) -> list[Scenario]:
    """Those that are named, recorded below `folder`, or loaded from there. `plant` is a fault in what is recorded."""
    found = {"init": await beginning(folder / "init", plant)} if "init" in names else {}
    if names != ["init"]:
        found["serve"] = base = await serving(
            folder / "serve", seed, lives=lives, plant=plant if "serve" in names else ""
        )
        for name, make in _RESTING_ON_A_KILLED_SERVER.items():
            if name in names:
                found[name] = await make(folder / name, killed(base.recording), plant)
    return [found[name] for name in names]


async def try_state(scenario: Scenario, seed: str, number: int, figures: Figures) -> None:
    """Judge one state in a folder of its own."""
    state = States(scenario.recording.timeline, f"{seed} {scenario.name}").state(number)
    with tempfile.TemporaryDirectory(prefix="inbox-powercut-state-") as folder:
        place = Path(folder) / "place"
        lay(state.left, place, state.random)
        found = await scenario.judge(state, number, place)
    figures.states[scenario.name] += 1
    figures.refused += found.refused
    figures.faults.update({fault.partition(":")[0] for fault in found.faults})
    if found.faults and len(figures.told) < _TOLD:
        figures.told.append((scenario.name, number, state, found.faults))


async def try_states(tried: Sequence[tuple[Scenario, int]], seed: str, figures: Figures) -> None:
    """Judge all these states, several at a time."""
    left = iter(tried)

    async def work() -> None:
        for scenario, number in left:
            await try_state(scenario, seed, number, figures)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


def shared_out(all_scenarios: Sequence[Scenario], states: int) -> list[tuple[Scenario, int]]:
    """So many states of each as its share is."""
    return [(scenario, number) for scenario in all_scenarios for number in range(round(states * SHARES[scenario.name]))]


async def _main(options: argparse.Namespace) -> int:
    if shutil.which("strace") is None:
        _tell("strace is not there: apt install strace")
        return 2
    seed, figures, start = options.seed or secrets.token_hex(4), Figures(), time.monotonic()
    folder = options.recording or Path(tempfile.mkdtemp(prefix="inbox-powercut-"))
    _tell(f"seed {seed}, recording {folder}")
    names = [options.scenario] if options.scenario else list(SHARES)
    every = await scenarios(folder, seed, names, plant=options.plant)
    steps = sum(len(each.recording.timeline.steps) for each in every)
    _tell(f"{time.monotonic() - start:.0f} s: recorded {steps} steps")
    tried = shared_out(every, options.states) if options.state is None else [(every[0], options.state)]
    reporting = asyncio.create_task(_report(figures, start))
    await try_states(tried, seed, figures)
    reporting.cancel()
    for name, number, state, faults in figures.told:
        again = f"python -m {_MODULE} --recording {folder} --seed {seed} --scenario {name} --state {number}"
        _tell(f"{name} {number}: cut after step {state.cut}, {state.mode}; again: {again}")
        for fault in faults[:_TOLD]:
            _tell(f"    {fault}")
    _tell(f"seed {seed}, {time.monotonic() - start:.0f} s: {figures.line()}")
    if not figures.faults and options.recording is None:
        shutil.rmtree(folder)
    return 1 if figures.faults else 0


async def _report(figures: Figures, start: float) -> None:
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        _tell(f"{time.monotonic() - start:.0f} s: {figures.line()}")


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — a command tells what it does


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Cut the power of a recorded server in many ways, and count what it lost."
    )
    parser.add_argument("--states", type=int, default=300, help="how many to try (default: 300)")
    parser.add_argument("--seed", default="", help="make the choices of an earlier run again")
    parser.add_argument("--recording", type=Path, help="where an earlier run kept what it recorded, or a new folder")
    parser.add_argument("--scenario", choices=list(SHARES), help="only this one")
    parser.add_argument("--state", type=int, help="only this one, of the scenario")
    parser.add_argument("--plant", default="", help="a fault of tests/powercut/planted.py, for a look at what is found")
    with asyncio.Runner() as runner:
        sys.exit(runner.run(_main(parser.parse_args())))
