"""What the process denies others about itself: no core dump, no peeking by other processes of the same user."""

import ctypes
import logging
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # <sys/prctl.h>

log = logging.getLogger(__name__)


def forbid_dumps() -> None:
    """Keep what is in memory (the secret, who is sending right now) out of files and debuggers, as far as we can."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # The limit alone does not bind core handlers that are piped to; this does.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            log.warning("this process can be dumped: prctl failed")
