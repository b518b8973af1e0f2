"""Where a profile may lie: behind a link, mounted as a single file, on a share that cannot sync a folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inbox_server.client.storage import BadFile, InFile, write_new
from inbox_server.store.sqlite.files import new_file
from inbox_server.synced_files import sync_folder

NO_SYNC = Path("/proc")  # a folder of a filesystem that answers EINVAL, as some shares do

CHANGE_MOUNTED = """
import sys
from pathlib import Path
from inbox_server.client.storage import BadFile, InFile
kept = InFile(Path(sys.argv[1]), bytes, bytes)
try:
    kept.change(lambda content: content + b"!")
except BadFile as error:
    print(error)
print(kept.read())
"""


def kept_in(path: Path) -> InFile[bytes]:
    return InFile(path, bytes, bytes)


def test_a_profile_behind_a_link_is_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "profile", tmp_path / "link"
    write_new(real, b"a")
    link.symlink_to(real)
    kept_in(link).change(lambda content: content + b"b")
    kept_in(real).change(lambda content: content + b"c")
    assert link.is_symlink()
    assert (kept_in(link).read(), real.read_bytes()) == (b"abc", b"abc")
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]  # one lock: beside the file
    with pytest.raises(BadFile, match="already exists"):
        write_new(link, b"x")


def test_a_share_that_cannot_sync_a_folder_is_taken_and_a_folder_that_is_not_there_is_not(tmp_path: Path) -> None:
    sync_folder(NO_SYNC)
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "no")


def test_a_profile_that_is_mounted_as_a_single_file_says_what_to_do(tmp_path: Path) -> None:
    real, mounted = tmp_path / "real", tmp_path / "mounted"
    write_new(real, b"a")
    write_new(mounted, b"")
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(real), str(mounted), sys.executable, CHANGE_MOUNTED]
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Operation not permitted" in ended.stderr or "permission denied" in ended.stderr.lower():
        pytest.skip("needs the right to mount")
    assert ended.returncode == 0, ended.stderr
    said, left = ended.stdout.splitlines()
    assert "mounted as a single file; mount its folder instead" in said
    assert left == "b'a'"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == ["mounted", "real"]


def test_a_copy_may_be_made_behind_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_file(tmp_path / "link" / "copy") as partial:
        partial.write_text(json.dumps("whole"))
    assert (tmp_path / "real" / "copy").read_text() == '"whole"'
