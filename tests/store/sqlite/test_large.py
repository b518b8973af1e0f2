"""Very large inboxes: they page in order, and what is done to them holds nobody up."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.filling import fill
from benchmarks.signing import people
from inbox_server.clock import UnixTime, system_clock
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.store.contract import Cursor, Quota, Store
from inbox_server.store.sqlite.opening import open_store
from tests.support.requests import SECRET
from tests.support.stores import entries_of

ENTRIES = 100_000
NOW = system_clock()  # as `fill` reckons
QUOTA = Quota(entries=1_000_000, bytes=1 << 40, max_retention=86_400, tombstones=1_000_000)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A database with an inbox of very many entries and an empty one."""
    folder = tmp_path_factory.mktemp("large") / "data"
    large, small = people(2)
    fill(folder, SECRET, [large], entries=ENTRIES)
    fill(folder, SECRET, [small], entries=0)
    hashes = KeyedHash(SECRET)
    return folder, hashes.inbox(large.address), hashes.inbox(small.address)


async def list_all(store: Store, inbox: bytes) -> list[bytes]:
    ids: list[bytes] = []
    after: Cursor | None = None
    more = True
    while more:
        page = await store.unread(inbox, after=after, limit=1000, now=NOW)
        assert after is None or after.change < page.cursor.change
        ids += [entry.id for entry in entries_of(page)]
        after, more = page.cursor, page.more
    return ids


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_page_in_order_and_ten_thousand_are_acknowledged(
    filled: tuple[Path, bytes, bytes],
) -> None:
    folder, large, small = filled
    async with open_store(folder, check_value=KeyedHash(SECRET).check_value(), quota=QUOTA) as store:
        ids = await list_all(store, large)
        assert len(ids) == len(set(ids)) == ENTRIES
        done: list[str] = []

        async def acknowledge() -> None:
            await store.acknowledge(large, tuple(ids[:10_000]), now=NOW)
            done.append("acknowledged")

        async def deliver() -> None:
            await store.deliver(small, bytes(32), "opaque", expires=UnixTime(NOW + 60), now=NOW)
            done.append("delivered")

        await asyncio.gather(acknowledge(), deliver())
        assert done == ["delivered", "acknowledged"]  # it had not to wait for all of them
        assert await list_all(store, large) == ids[10_000:]
