"""A database in PostgreSQL that a benchmark has filled."""

import asyncio
import hashlib
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.filling_postgres import fill
from benchmarks.growth_postgres import measure_growth
from benchmarks.postgres import settings_for
from benchmarks.servers import SECRET, Server, ask_json, deployment, inbox_server
from benchmarks.signing import Person, deliveries, people, query
from benchmarks.turns import Pace
from benchmarks.wire import wires
from inbox_server.inbox_log import LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import encode
from tests.support import postgres
from tests.support.javascript import missing

pytestmark = pytest.mark.postgres


def test_a_filled_database_is_as_deliveries_would_leave_it(tmp_path: Path) -> None:
    owners, deployed = people(3), deployment(tmp_path, settings_for(tmp_path))
    deployed.data.mkdir()
    asyncio.run(fill(postgres.cluster_of(tmp_path), deployed.data / "day-keys", SECRET, owners, entries=35))
    with inbox_server(deployed) as server:
        asyncio.run(_deliver_to_each(server, owners))
        for owner in owners:
            page = ask_json(server, query(owner, server.url))
            assert (len(page["messages"]), page["more"]) == (36, False)
            for entry in page["messages"]:
                assert encode(hashlib.sha256(entry["message_id"].encode()).digest()) == entry["id"]
    for inbox, *log in postgres.read_rows(tmp_path, "SELECT inbox, base_n, base_head, log_n, log_head FROM inbox"):
        entries = postgres.read_rows(tmp_path, f"SELECT n, id FROM message WHERE inbox = '\\x{inbox.hex()}' ORDER BY n")
        assert fold(LogPoint(*log[:2]), [LogEntry(*entry) for entry in entries]) == LogPoint(*log[2:])
    for wrong in (
        "SELECT 1 FROM inbox WHERE (unread, unread_bytes, change) NOT IN"
        " (SELECT count(*), sum(size), max(change) FROM message WHERE message.inbox = inbox.inbox)",
        "SELECT 1 FROM message LEFT JOIN text USING (inbox, id, day) WHERE text.inbox IS NULL OR expires != forget_at",
        "SELECT 1 FROM inbox WHERE 1 != (SELECT count(*) FROM log_mark"
        " WHERE log_mark.inbox = inbox.inbox AND n = base_n + 1 AND until = log_until)",
    ):
        assert postgres.read_rows(tmp_path, wrong) == []


async def _deliver_to_each(server: Server, owners: Sequence[Person]) -> None:
    async with wires(server, 1) as (wire,):
        for delivery in islice(deliveries(people(1), owners, server.url), len(owners)):
            await wire.ask(delivery)


def test_growth_is_measured_in_a_postgresql_of_its_own(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        missing("wrk is not there: apt install wrk")
    reserved = Path("/proc/sys/vm/nr_hugepages")
    before = reserved.read_text()
    found = measure_growth(tmp_path, Pace(seconds=1, rounds=1), (1_000, 2_000))
    assert reserved.read_text() == before
    for what in ("deliver", "list"):
        small, large = found[f"{what}_p50_ms"].values()
        assert found[f"{what}_p50"] == large / small > 0
