"""Where a client keeps its state: in a file of its own, or only in memory.

A file is written whole under another name and then renamed, so that a crash leaves the old one or the new one. Two
commands may run at once with one profile (`watch` in one terminal, `send` in another): every change reads the file anew
under a lock, so that neither undoes the other's.
"""

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from inbox_server.synced_files import make_folder, sync_folder

T = TypeVar("T")


class BadFile(Exception):
    """The client cannot use one of its files; the message names the file and says what to do."""


class Keeper(Protocol[T]):
    """Holds one value. Values are not changed in place: `change` replaces the current one."""

    def read(self) -> T:
        """The current value. Raises `BadFile`."""

    def change(self, change: Callable[[T], T]) -> T:
        """Replace the current value with `change` of it; it is on disk when this returns. Raises `BadFile`."""


class InMemory(Generic[T]):
    """For programs that keep state elsewhere, and for tests."""

    def __init__(self, value: T) -> None:
        self._value = value

    def read(self) -> T:
        return self._value

    def change(self, change: Callable[[T], T]) -> T:
        self._value = change(self._value)
        return self._value


class InFile(Generic[T]):
    """A file that only its owner may read. `missing` is the value if there is no file; with None, that is an error."""

    def __init__(
        self, path: Path, parse: Callable[[bytes], T], render: Callable[[T], bytes], *, missing: T | None = None
    ) -> None:
        self.path = path
        self._parse = parse
        self._render = render
        self._missing = missing

    def read(self) -> T:
        try:
            if self.path.stat().st_mode & 0o077:
                raise BadFile(f"{self.path}: others can read it; run: chmod 600 {self.path}")
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            if self._missing is not None:
                return self._missing
            raise BadFile(f"{self.path}: there is no such file; `inbox-server client keygen` writes one") from None
        except ValueError as error:
            raise BadFile(f"{self.path}: {error}") from None
        except OSError as error:
            raise BadFile(f"{self.path}: cannot be read: {error.strerror}") from None

    def change(self, change: Callable[[T], T]) -> T:
        path = self.path.resolve()  # write through a link, and lock against everybody who uses the file itself
        with _errors(self.path), _locked(path):
            value = change(self.read())
            _replace(path, self._render(value))
            return value


def write_new(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600, and create its folder. Raises `BadFile`."""
    with _errors(path):
        path = path.resolve()
        make_folder(path.parent, mode=0o700)
        with _locked(path):
            if path.exists():
                raise BadFile(f"{path} already exists and was not changed. Name another file with --profile.")
            _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on `path`. The lock is a separate file beside it, because the file itself is replaced."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for the time of one small write
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EBUSY:
            how = "mount its folder instead, so that the file can be replaced in one step"
            raise BadFile(f"{path}: cannot be replaced, because it is mounted as a single file; {how}") from None
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from None
