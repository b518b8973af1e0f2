"""What the process denies others about itself."""

import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource
from inbox_server.process import forbid_dumps
forbid_dumps()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_process_cannot_be_dumped() -> None:
    asked = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["0", "0", "0"]  # PR_GET_DUMPABLE, and no core file of any size
