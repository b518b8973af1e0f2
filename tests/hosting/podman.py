"""podman with images and settings of its own, which works without systemd and without the right to raise limits."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hosting.machine import HOST, output

_STORAGE: Final = """
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/running"
"""
_SETTINGS: Final = """
[containers]
base_hosts_file = "{folder}/hosts"
default_ulimits = []
netns = "{network}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


@dataclass(frozen=True, slots=True)
class Podman:
    """Containers are in `network`, a namespace, unless told otherwise; ports are there without being published."""

    folder: Path
    network: str

    @contextlib.contextmanager
    def holding(self, base: Path) -> Iterator[None]:
        """Images of its own, in which `base` is the image that the Containerfile names: no registry is asked."""
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost {HOST}\n")
        (self.folder / "storage.conf").write_text(_STORAGE.format(folder=self.folder))
        try:
            self.run(f"tar --create --directory {base} . | podman import --quiet - docker.io/library/debian:12-slim")
            yield
        finally:
            self.run("podman rm --force --all --time 1")

    def run(self, script: str, *, folder: Path | None = None, network: str = "") -> str:
        settings = self.folder / "containers.conf"
        settings.write_text(_SETTINGS.format(folder=self.folder, network=network or f"ns:/run/netns/{self.network}"))
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(settings),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }
        return output("/bin/bash", "-euo", "pipefail", "-c", script, environment=environment, folder=folder)
