"""Shards: inboxes in several clusters, and moving some of them while servers run."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import BadDatabase, SettingsChange, Sheet, Store, Subscribed, Ticket
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.opening import add_invite, open_sharded_store, open_store
from inbox_server.store.postgres.primary import Cluster
from inbox_server.store.postgres.restored import mark_restored
from inbox_server.store.postgres.shard_moving import TABLES, list_shards, move_shard
from inbox_server.store.postgres.text_days import ensure_days
from tests.conftest import START, HandClock
from tests.support import postgres
from tests.support.lines import Line
from tests.support.stores import ADMISSION, APP_HASH, CHECK_VALUE, QUOTA, Box, id_of

pytestmark = pytest.mark.postgres
HEARD = 5.0  # long enough for two rounds of a server here
SHARD = 7


def inbox_in(shard: int, number: int = 0) -> bytes:
    return bytes([shard]) + b"%015d" % number


@pytest.fixture
def clusters(tmp_path: Path) -> list[Cluster]:
    return [postgres.cluster_of(tmp_path / name) for name in ("one", "other", "third")]


def port() -> int:
    return urlsplit(postgres.server().url).port or 0


def through(line: Line, cluster: Cluster) -> Cluster:
    """The same cluster, at the other end of a line."""
    return replace(cluster, url=cluster.url.replace(f":{port()}/", f":{line.port}/"))


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, clusters: Sequence[Cluster]) -> AsyncIterator[Store]:
    async with open_sharded_store(
        clusters, day_keys_file=tmp_path / "day-keys", check_value=CHECK_VALUE, quota=QUOTA, clock=lambda: START
    ) as store:
        yield store


async def box_of(store: Store, inbox: bytes) -> Box:
    box = Box(store, HandClock(), inbox)
    await box.claim()
    return box


async def test_new_clusters_share_the_inboxes(tmp_path: Path, clusters: list[Cluster]) -> None:
    async with opened(tmp_path, clusters) as store:
        boxes = [await box_of(store, inbox_in(shard)) for shard in range(9)]
        for box in boxes:
            await box.deliver("opaque")
        assert (await store.totals()).inboxes == (await store.totals()).unread == 9
        assert [await box.texts() for box in boxes] == [["opaque"]] * 9
    assert [each.inboxes for each in await list_shards(clusters)] == [3, 3, 3]


async def test_one_cluster_that_gets_a_second_keeps_its_inboxes(tmp_path: Path, clusters: list[Cluster]) -> None:
    keys = tmp_path / "day-keys"
    common = {"day_keys_file": keys, "check_value": CHECK_VALUE, "quota": QUOTA}
    async with open_store(clusters[0], clock=lambda: START, **common) as store:  # type: ignore[arg-type]
        await (await box_of(store, inbox_in(SHARD))).deliver("opaque")
    async with opened(tmp_path, clusters[:2]) as store:
        assert await Box(store, HandClock(), inbox_in(SHARD)).texts() == ["opaque"]
    assert [len(each.shards) for each in await list_shards(clusters[:2])] == [256, 0]
    with pytest.raises(BadDatabase, match=r"store\.urls"):
        async with open_store(clusters[1], **common):  # type: ignore[arg-type]
            pass


async def test_the_first_cluster_stays_the_first(tmp_path: Path, clusters: list[Cluster]) -> None:
    """It has the table of shards, and another one would be made in what is named first."""
    first, second, third = clusters
    async with opened(tmp_path, clusters[:2]) as store:
        boxes = [await box_of(store, inbox_in(shard)) for shard in range(4)]
    for wrong in ([second, first], [third, first], [third, second], [second]):
        with pytest.raises(BadDatabase, match="The first of store"):
            async with opened(tmp_path, wrong):
                pass
    async with opened(tmp_path, [first, third, second]) as store:
        for box in boxes:
            assert await Box(store, HandClock(), box.inbox).deliver("opaque")


async def test_a_new_cluster_must_have_no_inboxes(tmp_path: Path, clusters: list[Cluster]) -> None:
    """They would be found by nobody."""
    common = {"day_keys_file": tmp_path / "day-keys", "check_value": CHECK_VALUE, "quota": QUOTA}
    async with open_store(clusters[1], clock=lambda: START, **common) as store:  # type: ignore[arg-type]
        await box_of(store, inbox_in(SHARD))
    for used in (False, True):
        with pytest.raises(BadDatabase, match="has inboxes of another server"):
            async with opened(tmp_path, clusters[:2]):
                pass
        if not used:
            async with opened(tmp_path, clusters[:1]):
                pass


async def test_a_cluster_that_has_all_shards_is_enough_by_itself(tmp_path: Path, clusters: list[Cluster]) -> None:
    """Also after some were in another one."""
    common = {"day_keys_file": tmp_path / "day-keys", "check_value": CHECK_VALUE, "quota": QUOTA}
    async with opened(tmp_path, clusters[:1]) as store:
        await (await box_of(store, inbox_in(SHARD))).deliver("opaque")
    async with opened(tmp_path, clusters[:2]):
        await move_shard(clusters[:2], SHARD, 1, heard_seconds=0)
    with pytest.raises(BadDatabase, match=r"store\.urls"):
        async with open_store(clusters[0], **common):  # type: ignore[arg-type]
            pass
    await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)
    async with open_store(clusters[0], clock=lambda: START, **common) as store:  # type: ignore[arg-type]
        assert await Box(store, HandClock(), inbox_in(SHARD)).texts() == ["opaque"]


async def test_a_shard_moves_while_two_servers_run_and_nothing_is_lost(tmp_path: Path, clusters: list[Cluster]) -> None:
    """Senders repeat what is refused for now. Nothing is refused for good, and no other inbox is refused at all."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(tmp_path, clusters[:2])) for _ in range(2)]
        moving = [await box_of(stores[0], inbox_in(SHARD, number)) for number in range(3)]
        staying = await box_of(stores[0], inbox_in(SHARD + 1))
        for box in moving:
            for text in ("read", "unread"):
                await box.deliver(text)
            await box.acknowledge("read")
        cursors = [await box.cursor() for box in moving]
        done, refused = asyncio.Event(), 0
        answered: dict[bytes, list[str]] = {}

        async def deliver(box: Box, store: Store) -> None:
            nonlocal refused
            number = 0
            while not done.is_set():
                text = f"{id(store)} {number}"
                try:
                    await Box(store, box.clock, box.inbox).deliver(text)
                except Unavailable:
                    assert box is not staying
                    refused += 1
                    await asyncio.sleep(0.1)
                    continue
                answered.setdefault(box.inbox, []).append(text)
                number += 1
                await asyncio.sleep(0.01)

        load = asyncio.gather(*(deliver(box, store) for box in (*moving, staying) for store in stores))
        await asyncio.sleep(0.5)
        moved = await move_shard(clusters[:2], SHARD, 0, heard_seconds=HEARD)
        await asyncio.sleep(3)  # both hear of it
        before = {inbox: len(texts) for inbox, texts in answered.items()}
        await asyncio.sleep(1)
        done.set()
        await load
        assert moved.inboxes == 3
        assert refused > 0
        for box, cursor in zip(moving, cursors, strict=True):
            assert len(answered[box.inbox]) > before[box.inbox]  # it goes on in its new place
            everywhere = [sorted(await Box(store, box.clock, box.inbox).texts()) for store in stores]
            assert everywhere == [sorted(["unread", *answered[box.inbox]])] * 2
            assert sorted(entry.message_id for entry in await box.entries(cursor)) == sorted(answered[box.inbox])
            assert len(await box.logged()) == 0
            assert (await box.settings()).read == 1
    held = await list_shards(clusters[:2])
    assert SHARD in held[0].shards
    assert not held[0].moving


async def test_a_move_that_was_broken_off_is_finished_by_the_same_command(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    async with opened(tmp_path, clusters[:2]) as store:
        boxes = [await box_of(store, inbox_in(SHARD, number)) for number in range(20)]
        for box in boxes:
            await box.deliver("opaque")
    for seconds in (0.05, 0.1, 0.15, 0.2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)
    await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)
    assert (await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)).inboxes == 0
    async with opened(tmp_path, clusters[:2]) as store:
        assert [await Box(store, HandClock(), box.inbox).texts() for box in boxes] == [["opaque"]] * 20
    assert [each.inboxes for each in await list_shards(clusters[:2])] == [20, 0]


async def test_a_move_that_was_broken_off_must_be_finished_before_another_one(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    async with opened(tmp_path, clusters):
        first = await clusters[0].connect()
        third = await clusters[2].connect()
        begun = "UPDATE shard SET target = $2 WHERE number = $1"
        await first.execute(begun, SHARD, await third.fetchval("SELECT id FROM cluster"))
        with pytest.raises(BadDatabase, match=rf"shard move {SHARD} --to 3"):
            await move_shard(clusters, SHARD, 0, heard_seconds=0)
        await first.execute(begun, SHARD, b"a cluster of past")
        with pytest.raises(BadDatabase, match=r"store\.urls names its cluster"):
            await move_shard(clusters, SHARD, 0, heard_seconds=0)
        await first.close()
        await third.close()


async def test_a_text_that_a_broken_off_move_has_left_is_written_over(tmp_path: Path, clusters: list[Cluster]) -> None:
    """It was acknowledged in the old cluster since."""
    async with opened(tmp_path, clusters[:2]) as store:
        box = await box_of(store, inbox_in(SHARD))
        await box.deliver("unread")
        there: asyncpg.Connection[asyncpg.Record] = await clusters[1].connect()
        here: asyncpg.Connection[asyncpg.Record] = await clusters[0].connect()
        day, body = await there.fetchrow("SELECT day, body FROM text")  # type: ignore[misc]
        await ensure_days(here, {day})
        put = "INSERT INTO text (inbox, id, day, body) VALUES ($1, $2, $3, $4)"
        await here.execute(put, box.inbox, id_of("read"), day, b"x" * len(body))
        await here.execute(put, box.inbox, id_of("unread"), day, body)
    await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)
    assert await here.fetchval("SELECT body FROM text WHERE id = $1", id_of("unread")) == body
    assert await here.fetchval("SELECT id FROM gone_text") == id_of("read")
    await there.close()
    await here.close()
    async with opened(tmp_path, clusters[:2]) as store:
        assert await Box(store, HandClock(), box.inbox).texts() == ["unread"]


async def test_two_commands_at_once_move_a_shard_once(tmp_path: Path, clusters: list[Cluster]) -> None:
    """The second is refused; and if the first has lost the connection by which that is known, nothing is lost."""
    async with opened(tmp_path, clusters) as store:
        boxes = [await box_of(store, inbox_in(SHARD, number)) for number in range(20)]
        for box in boxes:
            await box.deliver("opaque")
    told = asyncio.Event()
    first = asyncio.create_task(move_shard(clusters, SHARD, 2, heard_seconds=0.5, told=lambda _: told.set()))
    await told.wait()
    with pytest.raises(BadDatabase, match="another command"):
        await move_shard(clusters, SHARD, 2, heard_seconds=0)
    connection = await clusters[0].connect()
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1"
        " AND classid = 'shard'::regclass",
        SHARD,
    )
    await connection.close()
    await asyncio.gather(first, move_shard(clusters, SHARD, 2, heard_seconds=0.5), return_exceptions=True)
    await move_shard(clusters, SHARD, 2, heard_seconds=0)
    async with opened(tmp_path, clusters) as store:
        assert [await Box(store, HandClock(), box.inbox).texts() for box in boxes] == [["opaque"]] * 20


async def test_a_server_that_starts_while_a_move_ends_refuses_nothing_for_ever(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """It reads where the shards are, and then says in each cluster which of them are not there."""
    told = asyncio.Event()
    async with opened(tmp_path, clusters[:2]) as store:
        box = await box_of(store, inbox_in(SHARD + 1))
    moving = asyncio.create_task(move_shard(clusters[:2], SHARD + 1, 1, heard_seconds=1, told=lambda _: told.set()))
    await told.wait()
    somebody = await clusters[0].connect()

    async def until_one_waits_for(table: str) -> None:
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)"
        while not moving.done() and not await somebody.fetchval(waits, table):  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE away IN EXCLUSIVE MODE")
            starting = asyncio.create_task(stack.enter_async_context(opened(tmp_path, clusters[:2])))
            await until_one_waits_for("away")
            await until_one_waits_for("shard")
        await asyncio.gather(moving, starting)
    await somebody.close()
    async with opened(tmp_path, clusters[:2]) as store:
        assert (await Box(store, HandClock(), box.inbox).deliver("opaque")).new


async def test_a_command_names_the_cluster_that_it_has_lost(tmp_path: Path, clusters: list[Cluster]) -> None:
    async with opened(tmp_path, clusters[:2]):
        pass
    async with Line(port()).open() as line:
        first = through(line, clusters[0])
        with pytest.raises(BadDatabase, match=rf"PostgreSQL at 127\.0\.0\.1:{line.port} failed"):
            await move_shard([first, clusters[1]], SHARD, 0, heard_seconds=0.2, told=lambda _: line.cut())


async def test_the_keys_of_days_that_are_over_stay_while_a_cluster_is_away(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """What became due there meanwhile is kept for some days more, by a server that starts then."""
    clock = HandClock()
    async with Line(port()).open() as line, opened(tmp_path, [clusters[0], through(line, clusters[1])]) as store:
        box = await box_of(store, inbox_in(SHARD))
        await box.deliver("unread", life=(START // DAY_SECONDS + 2) * DAY_SECONDS - 1 - START)
        line.cut()
        clock.advance(5 * DAY_SECONDS)
        with pytest.raises(Unavailable):
            await store.sweep(clock())
    async with opened(tmp_path, clusters[:2]) as store:
        await store.prolong(START, clock())
        await store.sweep(clock())
        assert await Box(store, clock, box.inbox).texts() == ["unread"]
    assert DayKeys(tmp_path / "day-keys").day == clock() // DAY_SECONDS


async def test_a_cluster_that_no_server_may_use_is_neither_source_nor_target_of_a_move(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """Where a copy was put back, inboxes must get new generations first: a move would carry the old ones away.

    Of a newer version it does not know all that an inbox has.
    """
    async with opened(tmp_path, clusters[:2]) as store:
        await box_of(store, inbox_in(SHARD))
    for cluster, change, why in (
        (clusters[0], "INSERT INTO schema_step VALUES (1000)", "newer version"),
        (clusters[0], "UPDATE home SET written = 0", "after-restore"),
        (clusters[1], "INSERT INTO migration VALUES (1, 'mark', 'left')", "was copied to another database"),
    ):
        connection = await cluster.connect()
        await connection.execute(change)
        with pytest.raises(BadDatabase, match=why):
            await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)
        assert not await connection.fetchval("SELECT EXISTS (SELECT FROM shard WHERE target IS NOT NULL)")
        await connection.execute("DELETE FROM schema_step WHERE number = 1000")
        await mark_restored(connection, day=0, settings_only=False, random_bytes=random.randbytes)
        await connection.close()
    assert (await move_shard(clusters[:2], SHARD, 0, heard_seconds=0)).inboxes == 1


async def test_a_server_that_was_not_told_of_the_new_cluster_refuses_for_good_nothing(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """It still has only the first one in its configuration, and was not restarted."""
    keys = tmp_path / "day-keys"
    common = {"day_keys_file": keys, "check_value": CHECK_VALUE, "quota": QUOTA, "clock": lambda: START}
    async with open_store(clusters[0], **common) as alone:  # type: ignore[arg-type]
        box, staying = [await box_of(alone, inbox_in(shard)) for shard in (SHARD, SHARD + 1)]
        async with opened(tmp_path, clusters[:2]):
            await staying.deliver("taken")
            await move_shard(clusters[:2], SHARD, 1, heard_seconds=HEARD)
            for asking in (box.deliver("opaque"), staying.deliver("opaque"), alone.proven(b"a name, hashed..")):
                with pytest.raises(Unavailable, match="moving"):
                    await asking
    for cluster in clusters[:2]:
        with pytest.raises(BadDatabase, match=r"store\.urls"):
            async with open_store(cluster, **common):  # type: ignore[arg-type]
                pass


async def test_a_process_that_has_not_heard_of_a_move_refuses_for_good_nothing(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """It still asks the old cluster, where no inbox is any more."""
    async with opened(tmp_path, clusters[:2]) as store:
        box = await box_of(store, inbox_in(SHARD))
        connection = await clusters[1].connect()
        await connection.execute("INSERT INTO away (shard) VALUES ($1)", SHARD)
        await connection.execute("DELETE FROM inbox WHERE inbox = $1", box.inbox)
        await connection.close()
        for asking in (
            box.deliver("opaque"),
            box.page(),
            box.acknowledge("opaque"),
            box.claim(admission=None),
            box.claim(),
            store.policy(box.inbox, b"a sender, hashed"),
            store.settings(box.inbox),
            store.forget(box.inbox, issued=START, request=b"a request of DEL"),
        ):
            with pytest.raises(Unavailable):
                await asking


async def test_a_process_that_has_not_heard_of_a_move_writes_nothing_into_what_is_copied(
    tmp_path: Path, clusters: list[Cluster]
) -> None:
    """What is copied may be copied once more; what was written into the copy meanwhile would be gone."""
    async with opened(tmp_path, clusters[:2]) as store:
        box = await box_of(store, inbox_in(SHARD))
        await box.deliver("before")
        connection = await clusters[1].connect()
        await connection.execute("INSERT INTO away (shard) VALUES ($1)", SHARD)
        change = SettingsChange(APP_HASH, START, b"a request of PUT")
        ticket = Ticket(b"a ticket, hashed", b"its mark, hashed", (1, 2))
        expires = UnixTime(START + 1000)
        for asking in (
            box.deliver("opaque"),
            store.deliver(box.inbox, id_of("sealed"), "sealed", expires=expires, now=START, ticket=ticket),
            box.acknowledge("before"),
            box.claim(),
            box.claim(admission=None, accept="anyone"),
            store.forget(box.inbox, issued=START, request=b"a request of DEL"),
            store.subscribe(box.inbox, change, Subscribed("matrix", b"room", b"sealed"), most=1, now=START),
            store.keep_sheet(box.inbox, change, Sheet(1, (b"a ticket, hashed",)), now=START),
            store.operating.suspend(box.inbox),
            store.operating.set_quota(box.inbox, 1, 1),
            store.operating.drop(box.inbox),
        ):
            with pytest.raises(Unavailable, match="moving"):
                await asking
        await connection.execute("DELETE FROM away")
        await connection.close()
        assert await box.texts() == ["before"]
        assert (await box.settings()).accept == "names"
        assert not (await box.settings()).suspended


async def test_a_name_leads_to_the_newest_claim_in_whatever_cluster(tmp_path: Path, clusters: list[Cluster]) -> None:
    name = b"a name, hashed.."
    async with opened(tmp_path, clusters[:2]) as store:
        bob, carol = [await box_of(store, inbox_in(shard)) for shard in (0, 1)]
        for box in (bob, carol, bob):
            box.clock.advance(10)
            await box.claim(names=(name,))
            assert await store.proven(name) == box.inbox
        assert ((await bob.settings()).names, (await carol.settings()).names) == (1, 0)


async def test_an_invite_is_used_once_in_all_clusters(tmp_path: Path, clusters: list[Cluster]) -> None:
    code = b"an invite, keyed"
    invited = replace(ADMISSION, invite=code)
    async with opened(tmp_path, clusters[:2]) as store:
        await add_invite(clusters[0], code, expires=START + 1000, check_value=CHECK_VALUE)  # type: ignore[arg-type]
        bob, carol = [Box(store, HandClock(), inbox_in(shard)) for shard in (0, 1)]
        outcomes = await asyncio.gather(*(box.claim(admission=invited) for box in (bob, carol)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Refused", "bool"]
        (refused,) = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        assert refused.code == "not_registered"
        assert await store.operating.invites(START) == ()


async def test_every_table_of_inboxes_is_moved(tmp_path: Path, clusters: list[Cluster]) -> None:
    async with opened(tmp_path, clusters[:2]):
        connection: asyncpg.Connection[asyncpg.Record] = await clusters[0].connect()
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND column_name = 'inbox' AND table_name !~ '^text_[0-9]+$'"
        )
        await connection.close()
        assert {name for (name,) in rows} - {"invite", "text", "gone_text"} == set(TABLES)
