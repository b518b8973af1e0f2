"""States of a disk after a power cut, one for each number: the same for the same recording and seed."""

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.powercut.disk import MODES, Disk, Mark, Mode, Rename, Resize, Step, Sync
from tests.powercut.timeline import TERMINAL, Timeline

_AFTER_PROMISES: Final = 0.5  # of the cuts come just after an answer that promises something …
_AT_TURNS: Final = 0.3  # … and so many beside a sync, or where a file is cut short or gets or loses its name
_PROMISES: Final = ("201", "204")


@dataclass(frozen=True, slots=True)
class State:
    """`cut` is how many steps were done; `random` made the choices so far, and makes those that follow."""

    cut: int
    mode: Mode
    left: dict[str, bytes | None]
    time: float
    random: Random


class States:
    """All states of one time line."""

    def __init__(self, timeline: Timeline, seed: str) -> None:
        self._timeline = timeline
        self._seed = seed
        steps = timeline.steps
        self._promises = [number for number, step in enumerate(steps) if _promises(step)]
        self._turns = [number for number, step in enumerate(steps) if isinstance(step, Sync | Resize | Rename)]

    def state(self, number: int) -> State:
        random, steps = Random(f"{self._seed} {number}"), self._timeline.steps
        cut, mode = self._cut(random), random.choice(MODES)
        disk = Disk(self._timeline.root)
        disk.run(steps, cut)
        return State(cut, mode, disk.left(mode, random), self._timeline.times[max(cut - 1, 0)], random)

    def _cut(self, random: Random) -> int:
        chance, most = random.random(), len(self._timeline.steps)
        if chance < _AFTER_PROMISES:
            return min(most, random.choice(self._promises) + random.randint(1, 3))
        if chance < _AFTER_PROMISES + _AT_TURNS:
            return random.choice(self._turns) + random.randint(0, 1)
        return random.randint(0, most)


def _promises(step: Step) -> bool:
    return isinstance(step, Mark) and (step.said in _PROMISES or step.asked_by == TERMINAL)
