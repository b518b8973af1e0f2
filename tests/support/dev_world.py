"""`inbox-server dev --json` in a process of its own, as an app developer runs it."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def dev_world(folder: Path) -> Iterator[dict[str, Any]]:
    """What it printed, which is also in `world.json` in the folder."""
    command = [sys.executable, "-m", "inbox_server", "dev", "--json", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dev:
        assert dev.stdout
        (folder / "world.json").write_text(world := dev.stdout.readline())
        try:
            yield json.loads(world)
        finally:
            dev.send_signal(signal.SIGTERM)
