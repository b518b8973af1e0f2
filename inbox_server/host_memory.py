"""Memory that the server processes of one host share. It is made before they are started, and never written to a file.

It lives as long as one of them, or the parent that started them, does.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 16
_ENTRY: Final = struct.Struct(f"={KEY_BYTES}sq")
_WAYS: Final = 8


def shared_bytes(size: int) -> mmap.mmap:
    """Zeros. A page of this memory is taken when something is first written to it."""
    return mmap.mmap(-1, size)


def clear(memory: mmap.mmap) -> None:
    """Make it zeros again, and give its pages back where the system can do that."""
    if sys.platform == "linux":
        memory.madvise(mmap.MADV_REMOVE)
    else:
        memory[:] = bytes(len(memory))


class HostLock:
    """Held by one process at a time; a process that ends, however it ends, holds it no more.

    Hold it only for some microseconds, as a process that waits for it does nothing else. It does not keep the tasks of
    one process apart.
    """

    def __init__(self) -> None:
        # A lock of the whole file belongs to a process, although the processes inherited the file from one parent.
        if sys.platform == "linux":
            self._file = os.memfd_create("inbox-server-lock")
        else:
            self._file, path = tempfile.mkstemp()
            Path(path).unlink()
        weakref.finalize(self, os.close, self._file)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


class HostTable:
    """A positive number for each key of 16 bytes. Where it is crowded, a higher number takes the lowest one's place.

    Who changes it holds a lock. `buckets` times 8 entries of 24 bytes.
    """

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets
        self._memory = shared_bytes(buckets * _WAYS * _ENTRY.size)

    def get(self, key: bytes) -> int | None:
        for _, known, number in self._bucket(key):
            if known == key and number:
                return number
        return None

    def put(self, key: bytes, number: int) -> None:
        bucket = list(self._bucket(key))
        same = [entry for entry in bucket if entry[1] == key and entry[2]]
        place, _, _ = same[0] if same else min(bucket, key=lambda entry: entry[2])
        _ENTRY.pack_into(self._memory, place, key, number)

    def _bucket(self, key: bytes) -> Iterator[tuple[int, bytes, int]]:
        """Where each entry is, its key, and its number."""
        first = int.from_bytes(key[:8], "big") % self._buckets * _WAYS * _ENTRY.size
        for place in range(first, first + _WAYS * _ENTRY.size, _ENTRY.size):
            yield place, *_ENTRY.unpack_from(self._memory, place)
