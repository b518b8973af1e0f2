"""The unit file's exposure, as systemd itself reckons it."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.javascript import missing

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
