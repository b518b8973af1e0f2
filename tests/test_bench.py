"""`benchmarks/speed.py` in its quick form: it measures, and notices wrong answers. Never how fast anything was."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.delivering import Delivering
from benchmarks.filling import fill, stored
from benchmarks.ratios import compared
from benchmarks.servers import SECRET, Server, ask_json, bare_server, deployment, inbox_server
from benchmarks.signing import capabilities, deliveries, people, query, write_requests
from benchmarks.wrk import WrongAnswers, run_wrk
from tests.support.javascript import missing
from tests.support.stores import read_rows

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
PARTS = ("deliver", "list_empty", "list_100")


@pytest.fixture(scope="module")
def wrk() -> None:
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not there: apt install wrk util-linux")


def bench(*options: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.speed", *options]
    return subprocess.run(command, cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("wrk")
def test_a_quick_run_tells_ratios_and_writes_them(tmp_path: Path) -> None:
    done = bench("--quick", "--only", ",".join(PARTS), "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [written] = tmp_path.glob("*.json")
    results: dict[str, Any] = json.loads(written.read_text())
    assert {"wrk", "python", "aiohttp", "uvloop", "sqlite", "commit"} <= results["versions"].keys()
    for part in PARTS:
        assert len(results[part]["runs"]) == len(results[part]["bare_runs"]) == results["pace"]["rounds"]
        assert results[part]["ratio"] == results[part]["per_second"] / results[part]["bare_per_second"]
        assert min(results[part]["runs"] + results[part]["bare_runs"]) > 0
    for line in report.lines(results):
        assert f"{line.what:60} {line.value:>8}" in done.stdout
        assert f"| {line.what} | {line.value} |" in written.with_suffix(".md").read_text()
    assert len(report.lines(results)) == len(PARTS)
    assert sorted(tmp_path.iterdir()) == sorted([written, written.with_suffix(".md")])  # no database is left behind


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("wrk")
def test_waiting_readers_and_long_work_are_measured(tmp_path: Path) -> None:
    done = bench("--quick", "--only", "live,busy,fair", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [written] = tmp_path.glob("*.json")
    results: dict[str, Any] = json.loads(written.read_text())
    assert results["live"]["streams"] == 100
    assert 0 < results["live"]["answered_p50_ms"] <= results["live"]["reached_p99_ms"]
    assert results["fair"]["pages"] >= 20
    assert all(results["busy"][f"{work}_deliveries"] >= 2 for work in ("acking", "giving_up", "sweeping"))


def test_without_the_generator_it_says_what_to_install(tmp_path: Path) -> None:
    done = bench("--results", str(tmp_path), env={**os.environ, "PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "install wrk" in done.stderr


@pytest.mark.usefixtures("wrk")
def test_every_delivery_of_a_run_is_stored_once(tmp_path: Path) -> None:
    owners, deployed, count = people(3), deployment(tmp_path), 1000
    fill(deployed.data, SECRET, owners, entries=0)
    with inbox_server(deployed) as server:
        requests = write_requests(tmp_path / "requests", deliveries(people(2), owners, server.url), count)
        run = Delivering(server, connections=4).run(requests, seconds=1)
        assert 0 < run.answered <= stored(deployed.data) <= count
        kept = sum(len(ask_json(server, query(owner, server.url, "?limit=1000"))["messages"]) for owner in owners)
        assert kept == stored(deployed.data)


@pytest.mark.usefixtures("wrk")
def test_answers_without_anything_stored_are_noticed(tmp_path: Path) -> None:
    owners, deployed = people(1), deployment(tmp_path)
    fill(deployed.data, SECRET, owners, entries=2)
    with bare_server(tmp_path) as bare:
        requests = write_requests(tmp_path / "requests", deliveries(owners, owners, bare.url), 1000)
        delivering = Delivering(Server(bare.pid, bare.port, deployed.data), connections=4)
        with pytest.raises(WrongAnswers, match="0 are stored"):
            delivering.run(requests, seconds=1)


@pytest.mark.usefixtures("wrk")
def test_refusals_are_noticed(tmp_path: Path) -> None:
    with bare_server(tmp_path) as bare:
        requests = write_requests(tmp_path / "requests", cycle([capabilities(bare.url)]), 10)
        with pytest.raises(WrongAnswers, match="refused"):
            run_wrk(bare.url, requests, connections=4, seconds=1, again=True)


def test_a_filled_database_is_as_deliveries_would_leave_it(tmp_path: Path) -> None:
    owners, deployed = people(3), deployment(tmp_path)
    fill(deployed.data, SECRET, owners, entries=5)
    with inbox_server(deployed) as server:
        for owner in owners:
            page = ask_json(server, query(owner, server.url))
            assert (len(page["messages"]), page["more"]) == (5, False)
    assert stored(deployed.data) == 15
    for wrong in (
        "SELECT * FROM inbox WHERE (unread, unread_bytes, change) IS NOT"
        " (SELECT count(*), sum(size), max(change) FROM message WHERE message.inbox = inbox.inbox)",
        "SELECT * FROM message WHERE slot IN (SELECT slot FROM free_slot) OR slot NOT IN (SELECT slot FROM text)",
        "SELECT * FROM message WHERE expires != forget_at OR expires % 86400 != 86399",
        "SELECT * FROM text WHERE length(body) != 1024",
    ):
        assert read_rows(deployed.data, wrong) == []


def test_what_misses_its_target_is_marked() -> None:
    slow, fast = compared([1, 34, 90], [99, 100, 101]), compared([39, 40, 41], [100, 100, 100])
    results = {"deliver": slow, "list_100": fast, "start": {"empty_s": 0.5, "large_s": 1.01}}
    assert [line.verdict for line in report.lines(results)] == ["MISS", "pass", "pass", "MISS"]
