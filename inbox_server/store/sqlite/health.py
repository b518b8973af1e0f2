"""Whether reading and writing work: logged for the operator when one fails, and when it works again."""

import logging
import time
from collections.abc import Callable, Sequence
from sqlite3 import Error
from typing import Any, Final

_QUIET_SECONDS: Final = 60  # one damaged page fails again and again, between jobs that succeed

log = logging.getLogger(__name__)


class Health:
    """Of `what`, such as "writing", by the outcomes of its groups. `failing` is that of the last one."""

    def __init__(self, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.failing = False
        self._what = what
        self._monotonic = monotonic
        self._told_failing = False
        self._told_at = -_QUIET_SECONDS * 1.0

    def note(self, outcomes: Sequence[Any]) -> None:
        self.failing = any(isinstance(outcome, Error) for outcome in outcomes)
        if self.failing == self._told_failing:
            return
        if self.failing:
            if self._monotonic() - self._told_at < _QUIET_SECONDS:
                return
            self._told_at = self._monotonic()
        self._told_failing = self.failing
        level, how = (logging.ERROR, "fails") if self.failing else (logging.INFO, "works again")
        log.log(level, "%s %s", self._what, how)
