"""What the process denies others about itself, and what it allows itself."""

import subprocess
import sys

import pytest

PROBE = """
import ctypes, os, resource, sys
from inbox_server.hardening import forbid_dumps
forbid_dumps()
if "forked" in sys.argv and os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("kind", ["started", "forked"])
def test_the_process_cannot_be_dumped(kind: str) -> None:
    asked = subprocess.run([sys.executable, "-c", PROBE, kind], stdout=subprocess.PIPE, text=True, check=True)
    assert asked.stdout.split() == ["0", "0", "0"]  # PR_GET_DUMPABLE, and no core file of any size


@pytest.mark.parametrize(("soft", "hard", "allowed"), [(64, 900, 500), (64, 400, 400), (700, 900, 700)])
def test_the_process_takes_as_many_files_as_it_may_have(soft: int, hard: int, allowed: int) -> None:
    script = (
        f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}));"
        "from inbox_server.hardening import allow_many_files; allow_many_files(500);"
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    asked = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert int(asked.stdout) == allowed
