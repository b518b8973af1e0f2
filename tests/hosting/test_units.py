"""The shipped units under a real systemd: start, reload, restart, kill, hang, and the socket that outlives them."""

import shutil
from pathlib import Path

import pytest

from tests.hosting import units_inside
from tests.hosting.machine import Machine

pytestmark = [pytest.mark.hosting, pytest.mark.timeout(300, func_only=True)]

_UNITS = Path(__file__).parents[2] / "systemd"


def test_the_units(machine: Machine) -> None:
    (wheel,) = (machine.root / "root").glob("*.whl")
    machine.fetch(
        "cd; apt install python3-venv; python3 -m venv /opt/inbox-server;"
        f" /opt/inbox-server/bin/pip install './{wheel.name}[server]'"
    )
    shutil.copytree(_UNITS, machine.root / "root" / "units")
    shutil.copy(Path(units_inside.__file__), machine.root / "root" / "checks.py")
    with machine.booted():
        said = machine.run("python3 checks.py")
    assert said.count("\nok ") + said.startswith("ok ") == len(units_inside.CHECKS)
