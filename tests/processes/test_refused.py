"""More than one process with SQLite is a usage error, however it was asked for."""

import subprocess
from pathlib import Path

import pytest

from tests.support.serving import deploy


@pytest.mark.parametrize(
    ("settings", "options", "named"),
    [({}, ("--processes", "2"), "--processes"), ({"server__processes": 2}, (), "config.toml: server.processes")],
)
def test_sqlite_is_for_one_process(
    tmp_path: Path, settings: dict[str, int], options: tuple[str, ...], named: str
) -> None:
    place = deploy(tmp_path / "inbox", **settings)
    done = subprocess.run([*place.command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{named}: must be 1 with SQLite" in done.stderr
    assert "docs/postgresql.md" in done.stderr
    assert not place.data.exists()
