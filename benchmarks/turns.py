"""Servers measured in turn, and what that says of one beside another.

All run side by side, each idle while another has its turn. Whoever begins a round, another begins the next one. A ratio
is the median of the ratios of each round, so that a busy minute of the machine spoils a round and not the ratio.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.wrk import Run

NOW: Final = "now"
LIMITED: Final = "limited"
BASE: Final = "base"
BARE: Final = "bare"

Runs = Mapping[str, Sequence[Run]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run is, and how many there are of each server."""

    seconds: int
    rounds: int


def in_turn(sides: Mapping[str, Callable[[int], Run]], pace: Pace) -> Runs:
    """The runs of each side, which is a function of the seconds. One more run of a second warms up."""
    for run in sides.values():
        run(1)
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(pace.rounds):
        for name in order:
            runs[name].append(sides[name](pace.seconds))
        order.append(order.pop(0))
    return runs


def compared(runs: Runs) -> dict[str, Any]:
    """Medians of each side, and the ratios: ours to the bare one, to the base, and with rate limits to without."""
    found: dict[str, Any] = {name: _medians(of) for name, of in runs.items()}
    for ratio, over, under in (("ratio", NOW, BARE), ("to_base", NOW, BASE), ("limited_ratio", LIMITED, NOW)):
        if {over, under} <= runs.keys():
            found |= _ratio(ratio, runs[over], runs[under])
    return found


def cost(over: Sequence[Run], under: Sequence[Run]) -> float:
    """The processor time of an answer, as the median of the ratios of each round."""
    return statistics.median(one.processor_us / other.processor_us for one, other in zip(over, under, strict=True))


def _medians(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "per_second": statistics.median(run.per_second for run in runs),
        "processor_us": statistics.median(run.processor_us for run in runs),
        "runs": [round(run.per_second) for run in runs],
    }


def _ratio(name: str, over: Sequence[Run], under: Sequence[Run]) -> dict[str, Any]:
    pairs = list(zip(over, under, strict=True))
    rounds = [ours.per_second / theirs.per_second for ours, theirs in pairs]
    used = statistics.median(theirs.processor_us / ours.processor_us for ours, theirs in pairs if ours.processor_us)
    return {name: statistics.median(rounds), f"{name}_rounds": [min(rounds), max(rounds)], f"{name}_by_processor": used}
