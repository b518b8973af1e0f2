"""What an acknowledgement costs here and at other servers: `make bench PEERS=1`.

Each server gets the same items, over loopback and from the same generator, one core for the server and one for the
generator. How often a disk is asked to keep what was written is counted by strace, in a run of its own that is not
timed. All servers run at once and have their turn in each round; all of them are ended at the end.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Load, as_fast_as_possible
from benchmarks.peers.contract import Peer
from benchmarks.peers.mosquitto import Mosquitto
from benchmarks.peers.nats import Nats
from benchmarks.peers.ours import Ours
from benchmarks.peers.postgres import Postgres
from benchmarks.peers.redis import Redis
from benchmarks.pinning import pinned, server_core
from benchmarks.processor import processes, processor_seconds
from benchmarks.report import markdown_of, text_of
from benchmarks.wire import p50, p99
from benchmarks.wrk import WrongAnswers
from tests.support.serving import free_port

AT_ONCE: Final = (1, 64)
_RESULTS: Final = Path(__file__).parent.with_name("results")
_START_SECONDS: Final = 20
_STOP_SECONDS: Final = 30
_PAUSE_SECONDS: Final = 0.05
_SYNCS: Final = "fsync,fdatasync,msync,sync_file_range,syncfs"
_ELSEWHERE: Final = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/*/bin", str(Path(sys.executable).parent))


def every_peer() -> list[Peer]:
    return [
        Ours("on disk, one sync for all that wait; each item's token was checked"),
        Postgres("on disk, one sync for all that wait"),
        Redis("always", "on disk, one sync for all that wait"),
        Redis("everysec", "in the system's memory; on disk within a second or two"),
        Nats("always", "on disk, a sync for each message"),
        Nats(None, "in the system's memory; on disk within two minutes"),
        Mosquitto("in the server's memory; written every half hour, and when it ends"),
    ]


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that is ready for items."""

    peer: Peer
    pid: int
    port: int


def find(program: str) -> Path | None:
    """Where it is: on PATH, beside this Python, or where Debian keeps it; the newest of several."""
    if on_path := shutil.which(program):
        return Path(on_path)
    folders = (folder for pattern in _ELSEWHERE for folder in sorted(Path("/").glob(pattern[1:]), reverse=True))
    return next((folder / program for folder in folders if (folder / program).exists()), None)


@contextlib.contextmanager
def running(peer: Peer, program: Path, folder: Path, *, under: Sequence[str] = ()) -> Iterator[Running]:
    """The peer on the server's core, once it takes items; `under` is a command that runs it. Ended at the end."""
    port = free_port()
    folder.mkdir(mode=0o755)
    command = [*under, *peer.command(program, folder, port)]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(pinned(command, server_core()), stdout=said, stderr=said)  # noqa: S603
    try:
        _settle(peer, port, process, folder / "said")
        yield Running(peer, process.pid, port)
    finally:
        _end(process, traced=bool(under))


def _settle(peer: Peer, port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """Raises `WrongAnswers` with what it said when it does not start."""
    start = time.monotonic()
    while True:
        try:
            return peer.settle(port)
        except OSError as error:
            if process.poll() is not None or time.monotonic() - start > _START_SECONDS:
                raise WrongAnswers(f"{peer.name} did not start: {error}\n{said.read_text()}") from error
            time.sleep(_PAUSE_SECONDS)


def _end(process: subprocess.Popen[bytes], *, traced: bool) -> None:
    """strace ends with what it traces, and not before."""
    for server in islice(processes(process.pid), traced, traced + 1):
        os.kill(server, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of one peer. `busy` is how much of its core the server used."""

    load: Load
    processor_us: float
    busy: float


def take_turn(running: Running, at_once: int, seconds: float) -> Turn:
    """Raises `WrongAnswers`."""
    peer, port = running.peer, running.port
    load = as_fast_as_possible(
        peer.opening(port),
        peer.requests(port, seconds),
        peer.whole,
        at_once=at_once,
        seconds=seconds,
        meter=lambda: processor_seconds(running.pid),
    )
    return Turn(load, 1e6 * load.metered / len(load.taken_ms), load.metered / load.seconds)


def syncs_each(peer: Peer, program: Path, folder: Path, at_once: int, seconds: float) -> float:
    """How many times for each acknowledgement the disk is asked to keep what was written."""
    trace = folder.with_suffix(".trace")
    under = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={_SYNCS}", "-o", str(trace)]
    with running(peer, program, folder, under=under) as traced:
        before = trace.read_text().count("sync")
        answered = len(take_turn(traced, at_once, seconds).load.taken_ms)
        return (trace.read_text().count("sync") - before) / answered


def measure_peers(peers: Sequence[Peer], folder: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """What each of those costs that are installed. Tells which are not."""
    programs = {peer: found for peer in peers if (found := _found(peer))}
    turns: dict[tuple[Peer, int], list[Turn]] = {}
    with contextlib.ExitStack() as stack:
        up = [stack.enter_context(running(peer, at, folder / f"{n}")) for n, (peer, at) in enumerate(programs.items())]
        for number in range(rounds + 1):
            for each in up:
                for at_once in AT_ONCE:
                    turn = take_turn(each, at_once, seconds if number else min(seconds, 1))
                    turns.setdefault((each.peer, at_once), []).append(turn)
        for each in up:
            _check(each, sum(len(turn.load.taken_ms) for n in AT_ONCE for turn in turns[each.peer, n]))
    costs: dict[str, Any] = {}
    for peer, at in programs.items():
        costs[peer.name] = {"version": _version(peer, at), "promise": peer.promise}
        for at_once in AT_ONCE:
            traced = folder / f"{len(costs)}-{at_once}"
            syncs = syncs_each(peer, at, traced, at_once, min(seconds, 1)) if shutil.which("strace") else None
            costs[peer.name][f"at_{at_once}"] = _medians(turns[peer, at_once][1:], syncs)  # without the first
    return costs


def _found(peer: Peer) -> Path | None:
    program = find(peer.program)
    if program is None:
        print(f"   {peer.name} is left out: there is no {peer.program}; it comes with {peer.package}", flush=True)
    return program


def _version(peer: Peer, program: Path) -> str:
    said = subprocess.run(peer.version(program), capture_output=True, text=True, check=False).stdout  # noqa: S603
    return next((word.strip("v=") for word in said.split() if word.strip("v=")[:1].isdigit()), "?")


def _check(running: Running, acknowledged: int) -> None:
    kept = running.peer.kept(running.port)
    if kept is not None and kept != acknowledged:
        raise WrongAnswers(f"{running.peer.name} acknowledged {acknowledged} and has {kept}")


def _medians(turns: Sequence[Turn], syncs: float | None) -> dict[str, float | None]:
    return {
        "per_second": statistics.median(turn.load.per_second for turn in turns),
        "p50_ms": statistics.median(p50(turn.load.taken_ms) for turn in turns),
        "p99_ms": statistics.median(p99(turn.load.taken_ms) for turn in turns),
        "processor_us": statistics.median(turn.processor_us for turn in turns),
        "busy": statistics.median(turn.busy for turn in turns),
        "syncs": syncs,
    }


_HEAD: Final[tuple[str, ...]] = (
    "server",
    "what was acknowledged is",
    "syncs for each, 1 and 64 at once",
    "a second, 1 at once",
    "p50, p99 ms",
    "a second, 64 at once",
    "p50, p99 ms",
    "processor time of each, µs",
    "of its core",
)


def table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each peer."""
    rows = [_HEAD]
    for name, of in found.items():
        one, many = (of[f"at_{at_once}"] for at_once in AT_ONCE)
        syncs = " and ".join("–" if each["syncs"] is None else f"{each['syncs']:.2f}" for each in (one, many))
        row = [f"{name} ({of['version']})", of["promise"], syncs]
        for each in (one, many):
            row += [f"{each['per_second']:,.0f}", f"{each['p50_ms']:.2f}, {each['p99_ms']:.2f}"]
        rows.append((*row, f"{many['processor_us']:.0f}", f"{many['busy']:.0%}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.measure", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=3, help="how long one run is")
    parser.add_argument("--rounds", type=int, default=3, help="how many there are of each")
    options = parser.parse_args()
    _RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_RESULTS, prefix="peers-") as name:
        Path(name).chmod(0o755)  # PostgreSQL does not run as root, and has to reach its folder
        found = measure_peers(every_peer(), Path(name), seconds=options.seconds, rounds=options.rounds)
    path = _RESULTS / time.strftime("peers-%Y%m%dT%H%M%SZ.md", time.gmtime())
    path.write_text(markdown_of(table(found)) + "\n", encoding="utf-8")
    print(f"\n{text_of(table(found))}\n\n{path}")


if __name__ == "__main__":
    main()
