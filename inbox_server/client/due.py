"""When something is due again, on devices that sleep."""

from collections.abc import Callable

from inbox_server.clock import Clock


class Due:
    """At once, and after each `wait` when its seconds are over by either clock.

    The monotonic one may stand still while a device sleeps, and the other one can be set.
    """

    def __init__(self, monotonic: Callable[[], float], clock: Clock) -> None:
        self._clocks = (monotonic, clock)
        self._ends: tuple[float, ...] = ()

    def wait(self, seconds: float) -> None:
        self._ends = tuple(clock() + seconds for clock in self._clocks)

    @property
    def is_now(self) -> bool:
        return not self._ends or any(clock() >= end for clock, end in zip(self._clocks, self._ends, strict=True))
