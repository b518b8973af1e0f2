"""What receipts and the log add to the processor time of a delivery."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import this_build
from benchmarks.ratios import delivered
from benchmarks.servers import UNLIMITED
from benchmarks.turns import Pace, compared, cost, in_turn

_SIDES: Final[Mapping[str, dict[str, Any]]] = {
    "plain": {},
    "receipts": {"receipt": True},
    "unlogged": {"module": "benchmarks.without_log"},
}
_COSTS: Final = {"log_cost": ("plain", "unlogged"), "receipt_cost": ("receipts", "plain")}


def measure_trust(folder: Path, pace: Pace) -> dict[str, Any]:
    """Deliveries without a receipt, with one each, and without one to a server that logs nothing, in turn."""
    with contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(delivered(folder / name, this_build(), UNLIMITED, **side)).run
            for name, side in _SIDES.items()
        }
        runs = in_turn(sides, pace)
    return compared(runs) | {name: cost(runs[over], runs[under]) for name, (over, under) in _COSTS.items()}
