"""Time as an argument: whole seconds since 1970 UTC, read in one place and passed to everything else."""

import time
from collections.abc import Callable
from typing import Final, NewType

UnixTime = NewType("UnixTime", int)
Clock = Callable[[], UnixTime]

DAY_SECONDS: Final = 86_400


def system_clock() -> UnixTime:
    return UnixTime(int(time.time()))


def end_of_day(moment: UnixTime) -> UnixTime:
    """The last second of the UTC day of `moment`."""
    return UnixTime(moment // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS - 1)
