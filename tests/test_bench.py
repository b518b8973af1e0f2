"""`benchmarks/speed.py` in its quick form: it measures, and notices wrong answers. Never how fast anything was."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.builds import ROOT, base_build
from benchmarks.delivering import Delivering
from benchmarks.filling import fill, stored
from benchmarks.ladder import measure_ladder
from benchmarks.page import put_in
from benchmarks.servers import SECRET, ask_json, bare_server, deployment, inbox_server
from benchmarks.settling import settle, unread
from benchmarks.signing import capabilities, deliveries, people, query, write_requests
from benchmarks.speed import measure_each
from benchmarks.turns import Pace, compared, in_turn
from benchmarks.wrk import Run, WrongAnswers, run_wrk
from tests.support.javascript import missing
from tests.support.stores import read_rows

pytestmark = pytest.mark.long

RATIOS = ("deliver", "list_empty", "list_100")


@pytest.fixture(scope="module")
def wrk() -> None:
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not there: apt install wrk util-linux")


def bench(*options: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.speed", *options]
    return subprocess.run(command, cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("wrk")
def test_a_quick_run_tells_ratios_to_bare_handlers_and_to_an_older_build(tmp_path: Path) -> None:
    parts = (*RATIOS, "latency", "ladder")
    done = bench("--quick", "--only", ",".join(parts), "--base", "HEAD", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [written] = tmp_path.glob("*.json")
    results: dict[str, Any] = json.loads(written.read_text())
    assert {"wrk", "python", "aiohttp", "uvloop", "sqlite", "commit", "base"} <= results["versions"].keys()
    for part in RATIOS:
        for side in ("now", "base", "bare"):
            assert len(results[part][side]["runs"]) == results["pace"]["rounds"]
            assert min(results[part][side]["runs"]) > 0
        assert results[part]["ratio"] > 0 < results[part]["to_base"]
    assert results["deliver"]["limited_ratio"] > 0
    assert 0 < results["latency"]["base"]["at_1000_p50_ms"] <= results["latency"]["base"]["at_1000_p99_ms"]
    assert results["ladder"]["now"].keys() == results["ladder"]["base"].keys() > {"signature"}
    headings = []
    for heading, table in report.tables(results):
        headings.append(heading)
        assert f"{heading}\n{report.text_of(table)}" in done.stdout
        assert f"## {heading}\n\n{report.markdown_of(table)}" in written.with_suffix(".md").read_text()
    assert len(headings) == 3
    assert sorted(tmp_path.iterdir()) == sorted([written, written.with_suffix(".md")])  # no database is left behind


@pytest.mark.timeout(300)
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


def test_the_ladder_measures_a_build_without_the_modules_that_sign_its_requests(tmp_path: Path) -> None:
    """As builds from before sealed delivery are, and whatever the benchmarks will need next."""
    base = base_build("HEAD", tmp_path)
    shutil.rmtree(base.root / "inbox_server" / "client")
    steps = measure_ladder(tmp_path, base, 100)
    assert steps["now"].keys() == steps["base"].keys() > {"signature"}


def test_a_part_that_fails_takes_no_results_along(tmp_path: Path) -> None:
    def fail(_: Path) -> dict[str, Any]:
        raise WrongAnswers("the second part")

    work, about = tmp_path / "work", {"time": "20261129T000000Z", "versions": {}}
    work.mkdir()
    with pytest.raises(WrongAnswers, match="the second part"):
        measure_each({"live": lambda _: {"streams": 1}, "busy": fail}, about, work, tmp_path)
    [written] = tmp_path.glob("*.json")
    assert json.loads(written.read_text())["live"] == {"streams": 1}


def test_a_base_that_does_not_exist_is_told(tmp_path: Path) -> None:
    done = bench("--base", "nowhere", "--results", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no commit called nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_base_runs_its_own_files(tmp_path: Path) -> None:
    base = base_build("HEAD", tmp_path)
    (base.root / "inbox_server" / "__init__.py").write_text('__version__ = "the base"\n')
    command = base.command("inbox_server", "--version")
    said = subprocess.run(command, env=base.environment(ROOT), stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "the base" in said


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
        run = Delivering(server, lambda: stored(deployed.data), connections=4).run(requests, seconds=1)
        assert 0 < run.answered <= stored(deployed.data) <= count
        kept = sum(len(ask_json(server, query(owner, server.url, "?limit=1000"))["messages"]) for owner in owners)
        assert kept == stored(deployed.data)


@pytest.mark.usefixtures("wrk")
def test_answers_without_anything_stored_are_noticed(tmp_path: Path) -> None:
    owners, deployed = people(1), deployment(tmp_path)
    fill(deployed.data, SECRET, owners, entries=2)
    with bare_server(tmp_path) as bare:
        requests = write_requests(tmp_path / "requests", deliveries(owners, owners, bare.url), 1000)
        delivering = Delivering(bare, lambda: stored(deployed.data), connections=4)
        with pytest.raises(WrongAnswers, match="0 are stored"):
            delivering.run(requests, seconds=1)


@pytest.mark.usefixtures("wrk")
def test_refusals_are_noticed(tmp_path: Path) -> None:
    with bare_server(tmp_path) as bare:
        requests = write_requests(tmp_path / "requests", cycle([capabilities(bare.url)]), 10)
        with pytest.raises(WrongAnswers, match="refused"):
            run_wrk(bare, requests, connections=4, seconds=1, again=True)


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
        "SELECT * FROM text WHERE length(body) != 1083",
    ):
        assert read_rows(deployed.data, wrong) == []


def test_entries_that_are_put_in_over_http_are_counted(tmp_path: Path) -> None:
    owners = people(3)
    with inbox_server(deployment(tmp_path)) as server:
        settle(server, owners, people(2), entries=4)
        assert unread(server, owners) == 12
        assert unread(server, owners[:1]) == 4


def run_of(per_second: float) -> Run:
    """One that only a rate is asked of."""
    return Run(1, 1, per_second, 1.0, 1.0, 1.0, 1e6 / per_second, False)


def test_a_ratio_is_the_median_of_rounds_and_not_of_runs() -> None:
    """A busy minute halves both sides of one round, and leaves the ratio as it is."""
    runs = {"now": [run_of(20), run_of(10), run_of(22)], "bare": [run_of(100), run_of(50), run_of(100)]}
    assert compared(runs)["ratio"] == 0.2
    assert compared(runs)["ratio_rounds"] == [0.2, 0.22]


def test_sides_take_turns_to_begin() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[int], Run]:
        return lambda _: order.append(name) or run_of(1)  # type: ignore[func-returns-value]

    runs = in_turn({name: side(name) for name in "abc"}, Pace(seconds=1, rounds=3))
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(of) for name, of in runs.items()} == {"a": 3, "b": 3, "c": 3}


def test_what_misses_its_target_is_marked() -> None:
    slow, fast = (compared({"now": [run_of(ours)], "bare": [run_of(100)]}) for ours in (18, 40))
    results = {"deliver": slow, "list_100": fast, "start": {"empty_s": 0.3, "large_s": 1.01}}
    [(heading, (_, *rows)), *_] = report.tables(results)
    assert heading == "Targets"
    assert [verdict for _, _, _, verdict, _ in rows] == ["missed", "met", "met", "missed"]


def test_new_figures_replace_old_ones_in_the_documentation() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    for name in ("measured", "peers"):
        once = put_in(page, name, "# First\n\n| a |\n")
        twice = put_in(once, name, "# Second\n")
        assert "\n## First\n\n| a |\n<!-- /" in once
        assert ("First" in twice, "\n## Second\n<!-- /" in twice) == (False, True)
    with pytest.raises(ValueError, match="no marks called nothing"):
        put_in(page, "nothing", "")
