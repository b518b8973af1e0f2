"""From system calls, as strace saw them, to a time line: what changed in a folder, what was synced, what was said.

A file is followed by its descriptors, because its names come and go. What cannot be followed is an error, never left
out. The index of a write-ahead log (`-shm`) is written through shared memory, which no trace shows. It does not count:
whoever opens a database first throws the index away and makes it anew from the log
(https://www.sqlite.org/walformat.html). So that this is seen and not believed, every rebuilt state has random bytes
there.
"""

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from inbox_server.http.operator_socket import SOCKET_NAME
from tests.faults.trace import Call, calls_in
from tests.powercut.disk import File, Folder, Mark, Node, Rename, Resize, Step, Sync, Unknown, Write

_OPENS: Final = frozenset({"open", "openat", "creat"})
_SYNCS: Final = frozenset({"fsync", "fdatasync"})
_SAYS: Final = frozenset({"write", "writev", "sendto", "sendmsg"})
_NAMES: Final = frozenset(
    {"link", "linkat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "rmdir", "unlink", "unlinkat"}
)
_UNKNOWN: Final = frozenset(
    {"copy_file_range", "dup", "dup2", "dup3", "fallocate", "msync", "pwritev", "pwritev2", "sendfile"}
    | {"splice", "symlink", "symlinkat", "sync_file_range", "truncate"}
)
_OTHERS: Final = frozenset({"close", "ftruncate", "lseek", "mmap", "prctl", "pwrite64"})
_TRACED: Final = _OPENS | _SYNCS | _SAYS | _NAMES | _UNKNOWN | _OTHERS
COMMAND: Final = (
    "strace",
    *("-f", "--seccomp-bpf", "-qq", "-yy", "-ttt"),  # every thread, no chatter, descriptors' names, times
    *("-s", "262144"),  # more than anybody writes at once: what is cut short cannot be rebuilt
    *("-e", f"trace={','.join(sorted(_TRACED))}"),
    *("-e", "inject=prctl:retval=0"),  # as in tests/faults/trace.py: what is undumpable cannot be read
)
LOG_INDEX: Final = "-shm"

_PATH: Final = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_STATUS: Final = re.compile(r'"HTTP/1\.1 (\d{3}) ')
_PEER: Final = re.compile(r"TCP:\[.*->([\d.]+):\d+\]")
_NUMBER: Final = re.compile(r"(\d+)<")
_LAST_NUMBER: Final = re.compile(r", (\d+)$")
TERMINAL: Final = "terminal"


@dataclass(slots=True)
class Open:
    """An open file: where the next plain write goes."""

    node: Node
    offset: int = 0


@dataclass(slots=True)
class Timeline:
    """The steps of all programs that worked in one folder, one after the other, with the Unix time of each."""

    place: Path
    root: Folder
    steps: list[Step] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    _lines: int = 0

    def add(self, trace: Iterable[str]) -> None:
        """Go on with the trace of another program. Raises `Unknown`."""
        calls = calls_in(trace)
        program = _Program(self.place, self.root, self._lines)
        for line, call in sorted(((_moment(call), call) for call in calls), key=lambda each: each[0]):
            for step in program.steps_of(call):
                self.steps.append(step)
                self.times.append(call.time)
            self._lines = max(self._lines, program.first_line + max(line, call.ended) + 1)


def _moment(call: Call) -> int:
    """The line at which a call counts: a change when it begins, what must have succeeded when it ended."""
    return call.ended if call.name in _OPENS | _SYNCS else call.begun


class _Program:
    """What one program has open."""

    def __init__(self, place: Path, root: Folder, first_line: int) -> None:
        self.first_line = first_line
        self._place = PurePosixPath(place)
        self._root = root
        self._open: dict[int, Open] = {}

    def steps_of(self, call: Call) -> list[Step]:
        if call.name == "close":
            self._open.pop(_descriptor(call), None)
            return []
        if call.name in _SAYS and (mark := _mark(call)):
            return [mark]
        if call.result < 0:
            return []
        if call.name in _OPENS:
            return self._opened(call)
        if call.name in _NAMES:
            return self._renamed(call)
        if call.name in _UNKNOWN and self._is_ours(call):
            raise Unknown(f"{call.name}({call.arguments[:200]})")
        if call.name == "mmap":
            self._check_map(call)
        elif _NUMBER.match(call.arguments):
            return self._changed(call)
        return []

    def _changed(self, call: Call) -> list[Step]:
        """What was done to an open file."""
        file = self._open.get(_descriptor(call))
        if file is None:
            if call.name != "lseek" and self._within(call.file) is not None:
                raise Unknown(f"{call.name} on a file that nobody opened: {call.file}")
            return []
        if call.name in _SYNCS:
            return [Sync(file.node, self.first_line + call.begun)]
        if call.name == "lseek":
            file.offset = call.result
            return []
        if not isinstance(file.node, File):
            raise Unknown(f"{call.name}({call.arguments[:200]})")
        if call.name == "ftruncate":
            return [Resize(file.node, _last_number(call), self.first_line + call.ended)]
        data = _data(call)
        offset = _last_number(call) if call.name == "pwrite64" else file.offset
        if call.name != "pwrite64":
            file.offset += len(data)
        return [Write(file.node, offset, data, self.first_line + call.ended)]

    def _opened(self, call: Call) -> list[Step]:
        self._open.pop(call.result, None)
        (path,) = _paths(call)
        parts = self._within(path)
        if parts is None:
            return []
        if "O_APPEND" in call.arguments or "O_TMPFILE" in call.arguments:
            raise Unknown(f"{call.name}({call.arguments[:200]})")
        steps: list[Step] = []
        node = self._find(parts)
        if node is None:
            node = File()
            steps = [self._give_name(parts, node, call)]
        elif "O_TRUNC" in call.arguments and isinstance(node, File):
            steps = [Resize(node, 0, self.first_line + call.ended)]
        self._open[call.result] = Open(node)
        return steps

    def _renamed(self, call: Call) -> list[Step]:
        paths = [self._within(path) for path in _paths(call)]
        if all(path is None for path in paths):
            return []
        first, *rest = paths
        if first is None or None in rest or "RENAME_" in call.arguments:
            raise Unknown(f"{call.name}({call.arguments[:200]})")
        if call.name.startswith("mkdir"):
            return [self._give_name(first, Folder(), call)]
        if call.name.startswith("unlink") and first[-1] == SOCKET_NAME:
            return []  # a socket holds nothing: no time line has it, and no state
        if call.name.startswith(("unlink", "rmdir")):
            return [self._give_name(first, None, call)]
        node, (target,) = self._find(first), rest
        if node is None or target is None:
            raise Unknown(f"{call.name} of what is not there: {first}")
        step = self._give_name(target, node, call)
        if call.name.startswith("link"):
            return [step]
        gone = self._give_name(first, None, call)
        if step.node is not gone.node:  # whether one can happen without the other is a question that nobody asks yet
            raise Unknown(f"{call.name} into another folder: {first}")
        return [Rename(step.node, {**gone.names, **step.names}, step.ended)]

    def _give_name(self, parts: tuple[str, ...], node: Node | None, call: Call) -> Rename:
        folder = self._find(parts[:-1])
        if not isinstance(folder, Folder):
            raise Unknown(f"{call.name} in what is no folder: {parts}")
        if node is None:
            del folder.now[parts[-1]]
        else:
            folder.now[parts[-1]] = node
        return Rename(folder, {parts[-1]: node}, self.first_line + call.ended)

    def _find(self, parts: tuple[str, ...]) -> Node | None:
        node: Node | None = self._root
        for part in parts:
            node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def _within(self, path: str) -> tuple[str, ...] | None:
        """A path as names below the watched folder; None for one that is elsewhere."""
        pure = PurePosixPath(path)
        return pure.relative_to(self._place).parts if pure.is_relative_to(self._place) else None

    def _is_ours(self, call: Call) -> bool:
        return str(self._place) in call.arguments

    def _check_map(self, call: Call) -> None:
        if "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments and self._is_ours(call):
            match = re.search(r"\d+<([^>]*)>", call.arguments)
            if match is None or not match[1].endswith(LOG_INDEX):
                raise Unknown(f"mmap({call.arguments})")


def _mark(call: Call) -> Mark | None:
    """An answer, or a line on standard output."""
    if peer := _PEER.match(call.file):
        status = _STATUS.search(call.arguments)
        return Mark(status[1], peer[1]) if status else None
    if call.file.startswith("pipe:") and call.arguments.startswith("1<"):
        return Mark(_data(call).decode(), TERMINAL)
    return None


def _descriptor(call: Call) -> int:
    match = _NUMBER.match(call.arguments)
    if match is None:
        raise Unknown(f"{call.name}({call.arguments[:200]})")
    return int(match[1])


def _last_number(call: Call) -> int:
    match = _LAST_NUMBER.search(call.arguments)
    if match is None:
        raise Unknown(f"{call.name}({call.arguments[:200]})")
    return int(match[1])


def _paths(call: Call) -> list[str]:
    return [str(PurePosixPath(folder or "/", name)) for folder, name in _PATH.findall(call.arguments)]


def _data(call: Call) -> bytes:
    """What was written; of a write that was cut short, what did get through."""
    start, end = call.arguments.index('"') + 1, call.arguments.rindex('"')
    if call.name not in ("write", "pwrite64") or call.arguments[end + 1 :].startswith("..."):
        raise Unknown(f"{call.name}({call.arguments[:100]} …")
    data, _ = codecs.escape_decode(call.arguments[start:end].encode("ascii"))
    assert isinstance(data, bytes)
    return data[: call.result]


def folder_of(place: Path) -> Folder:
    """What lies in a folder, all of it synced: where a time line begins."""
    before: dict[str, Node] = {}
    for path in sorted(place.iterdir()):
        before[path.name] = folder_of(path) if path.is_dir() else File(path.read_bytes())
    return Folder(before, dict(before))
