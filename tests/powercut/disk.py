"""A disk whose power goes: from changes to files, in order, what may lie on it afterwards.

What was synced is there. Of what was not, each sector of each file and each name in each folder may be as it was at
any moment since the last sync. So a rename may have happened or not, writes may arrive in any order, and one may be
torn at the end of any sector. A sector itself is written as a whole, and nothing around it is harmed: SQLite assumes
the same (https://www.sqlite.org/psow.html).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, get_args

Mode = Literal[
    "nothing",  # of what was not synced
    "all",
    "until then",  # all changes up to a moment that is a little earlier, none after it
    "each",  # every file and every name: nothing of it, or all
    "torn at 512",  # every sector and every name by itself
    "torn at 4096",
]
MODES: Final = get_args(Mode)
_TORN: Final = {"torn at 512": 512, "torn at 4096": 4096}


class Unknown(Exception):
    """Something was done to files that this model cannot rebuild."""


@dataclass(slots=True, eq=False)
class File:
    """A file, under whatever names. `before` is what was on the disk when the time line began."""

    before: bytes = b""


@dataclass(slots=True, eq=False)
class Folder:
    """A folder; `now` is what the running programs see in it, while the time line is read."""

    before: dict[str, "File | Folder"] = field(default_factory=dict)
    now: dict[str, "File | Folder"] = field(default_factory=dict)


Node = File | Folder


@dataclass(frozen=True, slots=True)
class Write:
    """`ended` is the step at which the call had returned: only a sync that begins after it covers it."""

    node: File
    offset: int
    data: bytes
    ended: int


@dataclass(frozen=True, slots=True)
class Resize:
    node: File
    size: int
    ended: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Names of one folder that change together; None: the name is gone."""

    node: Folder
    names: Mapping[str, Node | None]
    ended: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync that returned at this step, and began at the step `begun`."""

    node: Node
    begun: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Nothing on the disk: something that the world outside was told, and by whom it was asked for."""

    said: str
    asked_by: str


Change = Write | Resize | Rename
Step = Change | Sync | Mark | None
Chosen = Callable[[int], bool]
"""Whether the change of this step is on the disk."""


class Disk:
    """What is on the disk and what is under way to it, step by step."""

    def __init__(self, root: Folder) -> None:
        self._root = root
        self._files: dict[File, bytearray] = {}
        self._folders: dict[Folder, dict[str, Node]] = {}
        self._pending: dict[Node, list[tuple[int, Change]]] = {}

    def run(self, steps: Sequence[Step], cut: int) -> None:
        """Do the first `cut` steps. Begin with a new disk."""
        for number in range(cut):
            step = steps[number]
            if isinstance(step, Sync):
                self._sync(step)
            elif isinstance(step, Write | Resize | Rename):
                self._pending.setdefault(step.node, []).append((number, step))

    def left(self, mode: Mode, random: Random) -> dict[str, bytes | None]:
        """What one finds when the power is back: paths with their bytes, and None for a folder."""
        pending = sorted(number for changes in self._pending.values() for number, _ in changes)
        moment = random.choice(pending) if pending else 0
        return dict(self._found(self._root, "", mode, random, moment))

    def _found(
        self, folder: Folder, path: str, mode: Mode, random: Random, moment: int
    ) -> Iterator[tuple[str, bytes | None]]:
        names = dict(self._folder(folder))
        for number, change in self._pending.get(folder, ()):
            if isinstance(change, Rename) and _is_there(mode, random, number <= moment):
                _rename(names, change)
        for name, node in sorted(names.items()):
            if isinstance(node, Folder):
                yield f"{path}{name}", None
                yield from self._found(node, f"{path}{name}/", mode, random, moment)
            else:
                yield f"{path}{name}", self._content(node, mode, random, moment)

    def _content(self, file: File, mode: Mode, random: Random, moment: int) -> bytes:
        content, pending = bytearray(self._file(file)), self._pending.get(file, [])
        if mode in _TORN:
            return _torn(content, [change for _, change in pending], _TORN[mode], random)
        whole = _is_there(mode, random, True)
        for number, change in pending:
            if whole and (mode != "until then" or number <= moment):
                _change(content, change)
        return bytes(content)

    def _sync(self, sync: Sync) -> None:
        kept = []
        for number, change in self._pending.pop(sync.node, ()):
            if change.ended >= sync.begun:
                kept.append((number, change))
            elif isinstance(change, Rename):
                _rename(self._folder(change.node), change)
            else:
                _change(self._file(change.node), change)
        if kept:
            self._pending[sync.node] = kept

    def _file(self, file: File) -> bytearray:
        return self._files.setdefault(file, bytearray(file.before))

    def _folder(self, folder: Folder) -> dict[str, Node]:
        return self._folders.setdefault(folder, dict(folder.before))


def _is_there(mode: Mode, random: Random, in_time: bool) -> bool:
    if mode == "until then":
        return in_time
    return mode == "all" or (mode != "nothing" and random.random() < 0.5)


def _rename(names: dict[str, Node], change: Rename) -> None:
    for name, node in change.names.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _change(content: bytearray, change: Change) -> None:
    if isinstance(change, Write):
        _grow(content, change.offset)
        content[change.offset : change.offset + len(change.data)] = change.data
    elif isinstance(change, Resize):
        del content[change.size :]
        _grow(content, change.size)


def _grow(content: bytearray, size: int) -> None:
    if len(content) < size:
        content.extend(bytes(size - len(content)))


def _torn(content: bytearray, changes: Sequence[Change], sector_bytes: int, random: Random) -> bytes:
    """Each sector as some of its changes left it, in their order, and the size after some of all changes.

    But a file is cut short as a whole or not at all: every filesystem notes its new size in one place.
    """
    runs = _runs(len(content), changes)
    sizes: list[int] = []
    for run in runs[: random.randint(1, len(runs))]:
        if run and isinstance(run[0], Resize):
            _change(content, run[0])
        sizes = _tear(content, run, sector_bytes, random)
    size = random.choice((sizes[0], sizes[-1], random.choice(sizes)))
    return bytes(content[:size])


def _runs(size: int, changes: Sequence[Change]) -> list[list[Change]]:
    """The changes of a file of that size, divided where it is cut short: each run but the first begins with that."""
    runs: list[list[Change]] = [[]]
    for change in changes:
        if isinstance(change, Resize) and change.size < size:
            runs.append([])
        runs[-1].append(change)
        size = change.size if isinstance(change, Resize) else _end(change, size)
    return runs


def _tear(content: bytearray, run: Sequence[Change], sector_bytes: int, random: Random) -> list[int]:
    """Make some of a run's changes to each sector. All sizes that the file had meanwhile."""
    sizes, parts = [len(content)], dict[int, list[tuple[int, bytes]]]()
    for change in run:
        sizes.append(change.size if isinstance(change, Resize) else _end(change, sizes[-1]))
        if isinstance(change, Write):
            for sector, offset, part in _split(change.offset, change.data, sector_bytes):
                parts.setdefault(sector, []).append((offset, part))
    _grow(content, max(sizes))
    for sector in sorted(parts):
        for offset, part in parts[sector][: random.randint(0, len(parts[sector]))]:
            content[offset : offset + len(part)] = part
    return sizes


def _end(change: Change, size: int) -> int:
    return max(size, change.offset + len(change.data)) if isinstance(change, Write) else size


def _split(start: int, data: bytes, sector_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """The parts of a write: the number of each sector, the part's place in the file, and its bytes."""
    offset, end = start, start + len(data)
    while offset < end:
        sector = offset // sector_bytes
        stop = min(end, (sector + 1) * sector_bytes)
        yield sector, offset, data[offset - start : stop - start]
        offset = stop
