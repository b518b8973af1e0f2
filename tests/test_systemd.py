"""The unit file's exposure, as systemd itself reckons it, and what the service tells systemd."""

import asyncio
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tests.support.javascript import missing
from tests.support.serving import deploy

UNIT = Path(__file__).parent.parent / "systemd" / "inbox-server.service"
MOST_EXPOSURE = 1.1


def test_the_unit_leaves_little_exposed() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is not there: it comes with systemd")
    command = [analyze, "security", "--offline=yes", "--no-pager", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"Overall exposure level for inbox-server\.service: ([\d.]+)", said.stdout)
    assert match, said.stdout + said.stderr
    assert float(match[1]) <= MOST_EXPOSURE


async def test_systemd_is_told_when_it_listens(tmp_path: Path) -> None:
    place, told = deploy(tmp_path / "inbox"), tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(told))
        systemd.setblocking(False)
        async with place.running("env", f"NOTIFY_SOCKET={told}"), asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(systemd, 100) == b"READY=1"
            with socket.create_connection(("127.0.0.1", place.port)):
                pass


def test_the_unit_waits_until_it_is_told() -> None:
    assert "\nType=notify\n" in UNIT.read_text()
