"""What is inside what is released: bills of materials in CycloneDX, by the tools of that project and of npm."""

import json
from pathlib import Path
from typing import Any

from release.programs import run
from release.version import Version


def server_bill(tree: Path, python: Path, target: Path, version: Version) -> None:
    """What the Debian package and the container hold: the server with its libraries, as `python` sees them."""
    options = ("--output-reproducible", "--of", "JSON", "--sv", "1.6", "--pyproject", "pyproject.toml")
    said = run("cyclonedx-py", "environment", *options, python, folder=tree, epoch=version.epoch)
    bill = json.loads(said)
    bill["metadata"]["component"]["version"] = version.python  # pyproject.toml does not have it
    _write(bill, target)


def client_bill(package: Path, target: Path, version: Version) -> None:
    """What an app gets with the npm package, and what is inside the page of the wheel."""
    said = run("npm", "sbom", "--sbom-format=cyclonedx", "--omit=dev", folder=package, epoch=version.epoch)
    bill = json.loads(said)
    del bill["serialNumber"], bill["metadata"]["timestamp"]  # random, and the time of day
    _write(bill, target)


def _write(bill: Any, target: Path) -> None:
    target.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
