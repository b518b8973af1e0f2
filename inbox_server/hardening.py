"""Process limits: no core dumps and no debuggers, enough open files, and three standard streams."""

import ctypes
import logging
import os
import resource
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # <sys/prctl.h>
_PR_SET_DUMPABLE: Final = 4
_MOST_FILES: Final = 1 << 16

log = logging.getLogger(__name__)


def forbid_dumps() -> None:
    """Keep what is in memory (the secret, who is sending right now) out of files and debuggers, as far as we can."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # The limit alone does not bind core handlers that are piped to; this does.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            log.warning("this process can be dumped: prctl failed")


def end_with_parent(parent: int) -> None:
    """Be killed when that process ends, however it ends; at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def allow_many_files(most: int = _MOST_FILES) -> None:
    """Each waiting reader holds a connection; shells and services often begin with 1,024 where more are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def open_standard_streams() -> None:
    """Connect closed standard streams to /dev/null, before anything else takes their file numbers.

    The event loop aborts the process when it closes one of its own files that has such a number.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None and name != "stdin":  # nothing typed is not an empty text
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
