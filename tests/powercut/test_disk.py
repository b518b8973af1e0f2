"""What the disk of `make powercut` keeps and loses: small time lines, and every state that they can lead to."""

from collections.abc import Sequence
from random import Random

import pytest

from tests.powercut.disk import MODES, Disk, File, Folder, Mode, Rename, Resize, Step, Sync, Write

TRIES = 200
OLD, NEW = b"a" * 8192, b"b" * 8192


def _states(root: Folder, steps: Sequence[Step], mode: Mode) -> list[dict[str, bytes | None]]:
    """What may be left after all of these steps."""
    found: list[dict[str, bytes | None]] = []
    for seed in range(TRIES):
        disk = Disk(root)
        disk.run(steps, len(steps))
        found.append(disk.left(mode, Random(seed)))
    return found


def _contents(steps: Sequence[Step], file: File, mode: Mode) -> set[bytes | None]:
    return {state.get("file") for state in _states(Folder({"file": file}), steps, mode)}


def _overwritten() -> tuple[File, Write]:
    file = File(OLD)
    return file, Write(file, 0, NEW, ended=1)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_synced_stays(mode: Mode) -> None:
    file, write = _overwritten()
    assert _contents([write, Sync(file, begun=2)], file, mode) == {NEW}


UNSYNCED: dict[Mode, set[bytes]] = {"nothing": {OLD}, "all": {NEW}, "until then": {NEW}, "each": {OLD, NEW}}


@pytest.mark.parametrize("mode", UNSYNCED)
def test_what_was_not_synced_may_be_there_or_not(mode: Mode) -> None:
    file, write = _overwritten()
    assert _contents([write], file, mode) == UNSYNCED[mode]


def test_a_write_is_torn_at_sectors_and_nowhere_else() -> None:
    file, write = _overwritten()
    contents = [content for content in _contents([write], file, "torn at 512") if content]
    assert len(contents) > TRIES / 2  # of the 65,536 that there are
    for content in contents:
        assert {content[start : start + 512] for start in range(0, 8192, 512)} <= {OLD[:512], NEW[:512]}
    halves = {OLD[:4096] + NEW[4096:], NEW[:4096] + OLD[4096:]}
    assert _contents([write], file, "torn at 4096") == {OLD, NEW, *halves}


def test_a_sector_has_all_that_it_was_told_until_some_moment() -> None:
    file = File(bytes(512))
    steps: list[Step] = [Write(file, 0, b"first", ended=1), Write(file, 5, b"second", ended=2)]
    contents = {content[:11] for content in _contents(steps, file, "torn at 512") if content}
    assert contents == {bytes(11), b"first" + bytes(6), b"firstsecond"}


@pytest.mark.parametrize("mode", MODES)
def test_a_sync_does_not_cover_a_write_that_had_not_returned_when_it_began(mode: Mode) -> None:
    file = File(OLD)
    steps: list[Step] = [Write(file, 0, NEW, ended=5), Sync(file, begun=4)]
    assert (OLD in _contents(steps, file, mode)) == (mode not in ("all", "until then", "torn at 512"))


def test_a_sync_of_one_file_is_none_of_another() -> None:
    file, write = _overwritten()
    assert _contents([write, Sync(File(), begun=2)], file, "nothing") == {OLD}


def test_a_new_file_has_no_name_until_its_folder_is_synced() -> None:
    root, file = Folder(), File()
    steps: list[Step] = [Rename(root, {"file": file}, ended=1), Write(file, 0, NEW, ended=2), Sync(file, begun=3)]
    assert [state for state in _states(root, steps, "each") if state] != []
    assert {} in _states(root, steps, "each")
    assert _states(root, [*steps, Sync(root, begun=4)], "nothing")[0] == {"file": NEW}


def test_a_rename_happened_or_not_and_never_by_half() -> None:
    one, two = File(b"one"), File(b"two")
    root = Folder({"new": one, "name": two})
    steps: list[Step] = [Rename(root, {"new": None, "name": one}, ended=1)]
    found = {tuple(sorted(state.items())) for state in _states(root, steps, "each")}
    assert found == {(("name", b"one"),), (("name", b"two"), ("new", b"one"))}


def test_a_deleted_file_may_be_there_again() -> None:
    root = Folder({"file": File(OLD)})
    found = _states(root, [Rename(root, {"file": None}, ended=1)], "each")
    assert {} in found
    assert {"file": OLD} in found


@pytest.mark.parametrize("mode", ["each", "torn at 512", "torn at 4096"])
def test_a_file_is_cut_short_as_a_whole_or_not_at_all(mode: Mode) -> None:
    """SQLite relies on that: a log that was copied, and then lost its end alone, would undo what was in its end."""
    file = File(OLD)
    assert _contents([Resize(file, 0, ended=1)], file, mode) == {OLD, b""}
    assert _contents([Resize(file, 100, ended=1)], file, mode) == {OLD, OLD[:100]}


def test_what_is_written_after_a_cut_is_not_there_without_the_cut() -> None:
    file = File(OLD)
    steps: list[Step] = [Resize(file, 0, ended=1), Write(file, 512, NEW[:512], ended=2)]
    contents = _contents(steps, file, "torn at 512")
    assert contents == {OLD, b"", bytes(1024), bytes(512) + NEW[:512]}


def test_what_lies_in_a_folder_without_a_name_is_lost() -> None:
    root, inner, file = Folder(), Folder(), File()
    steps: list[Step] = [
        Rename(root, {"folder": inner}, ended=1),
        Rename(inner, {"file": file}, ended=2),
        Write(file, 0, NEW, ended=3),
        Sync(file, begun=4),
        Sync(inner, begun=5),
    ]
    assert _states(root, steps, "nothing")[0] == {}
    assert _states(root, [*steps, Sync(root, begun=6)], "nothing")[0] == {"folder": None, "folder/file": NEW}
