"""A time line leads to the files that a program really left, or says that it cannot."""

import sys
from pathlib import Path

import pytest

from tests.powercut.disk import Mark, Sync, Unknown
from tests.powercut.recording import run_command
from tests.powercut.timeline import TERMINAL
from tests.support.tracing import need_strace

BEGIN = "import os, pathlib, shutil, sys\nplace = pathlib.Path(sys.argv[1])\n"
EVERYTHING = """
(place / "folder").mkdir()
with open(place / "folder" / "new", "wb") as file:
    file.write(bytes(range(256)) * 40)
    file.flush()
    os.fsync(file.fileno())
    file.seek(100)
    file.write(b'"quoted", \\\\ and ) = 7')
    os.pwrite(file.fileno(), b"far", 20_000)
    os.ftruncate(file.fileno(), 20_001)
os.link(place / "folder" / "new", place / "linked")
(place / "kept").rename(place / "renamed")
with open(place / "linked", "r+b") as file:
    (place / "linked").unlink()
    file.write(b"by another name")
(place / "cut short").write_bytes(b"less")
(place / "gone").mkdir()
(place / "gone" / "file").touch()
shutil.rmtree(place / "gone")
folder = os.open(place, os.O_RDONLY)
os.fsync(folder)
os.write(1, b"done")
"""
UNSEEN = {
    "a link": "os.symlink('kept', place / 'link')",
    "the end": "open(place / 'kept', 'ab').write(b'more')",
    "a copy": "shutil.copyfile(place / 'kept', place / 'copied')",
    "memory": "import mmap\nfile = open(place / 'kept', 'r+b')\nmmap.mmap(file.fileno(), 4)[:4] = b'more'",
    "another descriptor": "file = os.dup(os.open(place / 'kept', os.O_RDWR))\nos.write(file, b'more')",
}


@pytest.fixture
def before(tmp_path: Path) -> Path:
    need_strace()
    before = tmp_path / "before"
    before.mkdir()
    for name in ("kept", "cut short"):
        (before / name).write_bytes(b"long before")
    return before


async def test_a_time_line_leads_to_the_files_that_a_program_left(tmp_path: Path, before: Path) -> None:
    """Recording compares them."""
    script = BEGIN + EVERYTHING
    recording = await run_command(tmp_path / "new", before, lambda place: [sys.executable, "-c", script, str(place)])
    steps = recording.timeline.steps
    assert [type(step) for step in steps[-2:]] == [Sync, Mark]
    assert steps[-1] == Mark("done", TERMINAL)
    assert sum(isinstance(step, Sync) for step in steps) == 2


@pytest.mark.parametrize("what", UNSEEN)
async def test_what_cannot_be_rebuilt_is_an_error(tmp_path: Path, before: Path, what: str) -> None:
    script = BEGIN + UNSEEN[what]
    with pytest.raises(Unknown):
        await run_command(tmp_path / "new", before, lambda place: [sys.executable, "-c", script, str(place)])
