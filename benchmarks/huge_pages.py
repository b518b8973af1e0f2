"""Memory in pages of 2 MB, which only root can reserve.

What is at a random place of much memory is found faster in them: a page of 4 KB has to be mapped when a process first
comes to it, and the tables that say where it is are more than a processor keeps at hand.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIZE: Final = 2 << 20  # bytes
_RESERVED: Final = Path("/proc/sys/vm/nr_hugepages")


@contextlib.contextmanager
def huge_pages(size: int) -> Iterator[bool]:
    """Reserve so many bytes in huge pages until the end. Yields whether they are there; if not, none is reserved."""
    if not os.access(_RESERVED, os.W_OK):
        yield False
        return
    before = int(_RESERVED.read_text())
    wanted = before + -(-size // _SIZE)
    try:
        _RESERVED.write_text(str(wanted))  # the kernel reserves what it can
        are_there = int(_RESERVED.read_text()) >= wanted
        if not are_there:
            _RESERVED.write_text(str(before))
        yield are_there
    finally:
        _RESERVED.write_text(str(before))
