"""Long pages are read and sent in parts: they say the same as short ones, and hold nobody up."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.filling import fill
from benchmarks.signing import Person, people
from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import owner_token
from inbox_server.clock import UnixTime, system_clock
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inboxes.follow import Following
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.wakeups import Wakeups
from inbox_server.protocol.feed_json import PART_ENTRIES
from inbox_server.store.contract import Quota, Store, Unread
from inbox_server.store.sqlite.opening import open_store
from tests.conftest import APP
from tests.support.edges import PUBLIC
from tests.support.requests import SECRET
from tests.support.stores import entries_of

ENTRIES = 3 * PART_ENTRIES + 1
NOW = system_clock()  # as `fill` reckons
HASHES = KeyedHash(SECRET)
QUOTA = Quota(entries=1_000_000, bytes=1 << 40, max_retention=86_400, tombstones=1_000)


class Scene:
    """An inbox with a few hundred entries, and its owner."""

    def __init__(self, store: Store, key: AppKey) -> None:
        self.store = store
        self.inbox = HASHES.inbox(key.address)
        self._reading = Reading(store, Following(store, Wakeups(), lambda: NOW, bytes), HASHES, audience=PUBLIC)
        self._token = f"Bearer {owner_token(key, scope='read', app=APP, inbox=PUBLIC, now=NOW)}"

    async def ask(self, limit: int, after: str | None = None, **query: str) -> bytes | AsyncGenerator[bytes, None]:
        asked = {"limit": str(limit), **query} | ({} if after is None else {"after": after})
        return await self._reading.unread(self._token, str(asked), asked, NOW)

    async def page(self, limit: int, after: str | None = None, **query: str) -> dict[str, Any]:
        answer = await self.ask(limit, after, **query)
        return whole(answer if isinstance(answer, bytes) else b"".join([part async for part in answer]))

    async def entries(self, limit: int) -> tuple[Unread, ...]:
        return entries_of(await self.store.unread(self.inbox, after=None, limit=limit, now=NOW))

    async def acknowledge(self, *ids: bytes) -> None:
        await self.store.acknowledge(self.inbox, ids, now=NOW)


def whole(answer: bytes) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(answer)
    return page


def ids_of(page: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in page["messages"]]


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    """Of an inbox in the database of this test."""
    (owner,) = people(1)
    fill(tmp_path / "data", SECRET, [owner], entries=ENTRIES)
    return owner


@pytest.fixture
async def scene(tmp_path: Path, owner: Person) -> AsyncIterator[Scene]:
    async with open_store(tmp_path / "data", check_value=HASHES.check_value(), quota=QUOTA) as store:
        yield Scene(store, AppKey(owner.key.secret))


@pytest.mark.parametrize("more", [{}, {"wait": "1"}])
@pytest.mark.parametrize("limit", [PART_ENTRIES + 1, 2 * PART_ENTRIES, ENTRIES - 1, ENTRIES, 1000])
async def test_a_long_page_is_the_short_ones_one_after_another(scene: Scene, limit: int, more: dict[str, str]) -> None:
    read = [entry.id for entry in await scene.entries(3)]
    begun = await scene.page(1)
    await scene.acknowledge(*read)
    for start in (None, begun["cursor"]):
        listed, known = list[str](), list[str]()
        page: dict[str, Any] = {"cursor": start, "more": True}
        while page["more"] and len(listed) + len(known) < limit:
            page = await scene.page(min(PART_ENTRIES, limit - len(listed) - len(known)), page["cursor"])
            listed += ids_of(page)
            known += page.get("read", []) if start else []
        long = await scene.page(limit, start, **more)
        assert (ids_of(long), long.get("read", []), long["more"]) == (listed, known, page["more"])
        assert long["cursor"] == page["cursor"]
        assert ("read" in long) == (start is not None)


async def test_what_changes_between_the_parts_is_told_once_and_not_lost(scene: Scene) -> None:
    answer = await scene.ask(1000)
    assert not isinstance(answer, bytes)
    parts = [await anext(answer)]
    entries = await scene.entries(ENTRIES)
    early, late, longer = entries[0], entries[-1], entries[1]
    await scene.acknowledge(early.id, late.id)
    await scene.store.deliver(
        scene.inbox, longer.id, longer.message_id, expires=UnixTime(longer.expires + 86_400), now=NOW
    )
    await scene.store.deliver(scene.inbox, bytes(32), "new", expires=UnixTime(NOW + 60), now=NOW)
    page = whole(b"".join([*parts, *[part async for part in answer]]))
    assert len(ids_of(page)) == len(set(ids_of(page))) == ENTRIES - 1  # without the one that was read before its part
    assert not page["more"]
    after = await scene.page(1000, page["cursor"])
    assert len(after["read"]) == 2
    assert [entry["message_id"] for entry in after["messages"]] == [longer.message_id, "new"]


async def test_a_page_whose_inbox_goes_meanwhile_is_whole_json_and_says_that_there_is_more(scene: Scene) -> None:
    answer = await scene.ask(1000)
    assert not isinstance(answer, bytes)
    parts = [await anext(answer)]
    await scene.store.forget(scene.inbox, issued=NOW, request=bytes(16))
    page = whole(b"".join([*parts, *[part async for part in answer]]))
    assert len(page["messages"]) == PART_ENTRIES
    assert page["more"]


async def test_a_delivery_does_not_wait_for_all_the_pages_that_one_owner_asked_for(scene: Scene) -> None:
    pages = [asyncio.create_task(scene.page(PART_ENTRIES)) for _ in range(50)]
    await asyncio.sleep(0)  # all of them have asked
    assert await scene.store.policy(scene.inbox, bytes(32))
    assert sum(page.done() for page in pages) <= 2
    assert {len(ids_of(page)) for page in await asyncio.gather(*pages)} == {PART_ENTRIES}
