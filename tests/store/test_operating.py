"""What a store does for its operator: nothing is lost by it, and everything may be done twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.clock import UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.store.contract import Quota, Totals
from inbox_server.store.operating import Invite, Known, Overview, SizeClass
from tests.store.conftest import Count
from tests.support.stores import ADMISSION, BOB, CAROL, QUOTA, Box, Kind, claimed_box

ALICE = b"Alice, as Bob's."
EMPTY = [(0, 0, 0, 0), (1, 0, 0, 0), (10, 0, 0, 0), (100, 0, 0, 0), (1000, 0, 0, 0), (10_000, 0, 0, 0)]


@pytest.fixture
def quota() -> Quota:
    return replace(QUOTA, entries=10, bytes=100)


def of_sizes(found: Overview) -> list[tuple[int, int, int, int]]:
    return [(each.least, each.inboxes, each.unread, each.bytes) for each in found.classes]


async def test_the_overview_counts_inboxes_by_what_they_hold(box: Box) -> None:
    for number in range(4):
        other = box.of(bytes([number]) * 16)
        await other.claim()
        for entry in range(3 * number):
            await other.deliver(f"text {entry}")
    await box.deliver("read")
    await box.acknowledge("read")
    found = await box.store.operating.overview()
    assert of_sizes(found) == [(0, 2, 0, 0), (1, 3, 18, 108), *EMPTY[2:]]
    assert (found.read, found.nearly_full, found.own_quotas, found.suspended) == (1, 1, 0, 0)
    assert 0 < found.free_bytes < found.file_bytes
    await box.store.operating.set_quota(bytes([3]) * 16, 20, None)
    await box.store.operating.set_quota(bytes([1]) * 16, None, 18)
    await other.deliver("the tenth")
    await box.store.operating.suspend(b"not even claimed")
    found = await box.store.operating.overview()
    assert of_sizes(found)[1:3] == [(1, 2, 9, 54), (10, 1, 10, 63)]
    assert (found.nearly_full, found.own_quotas, found.suspended) == (1, 2, 1)
    assert await box.store.totals() == Totals(unread=19, read=1, inboxes=5, suspended=1)


async def test_a_store_without_inboxes_has_an_overview(tmp_path: Path, kind: Kind) -> None:
    async with kind.open(tmp_path, quota=QUOTA, changed=lambda _: None) as store:
        assert of_sizes(await store.operating.overview()) == EMPTY
    assert SizeClass(*EMPTY[0]) == SizeClass(least=0, inboxes=0, unread=0, bytes=0)


async def test_a_suspended_inbox_accepts_nobody_and_keeps_everything(box: Box) -> None:
    await box.claim(accept="anyone")
    await box.deliver("before")
    before = await box.store.policy(BOB, ALICE)
    assert before
    assert before.accept == "anyone"
    assert await box.store.operating.suspend(BOB)
    assert not await box.store.operating.suspend(BOB)
    assert await box.store.policy(BOB, ALICE) == replace(before, accept="nobody")
    page, settings = await box.page(), await box.settings()
    assert (page.notices, settings.suspended, settings.accept) == (("suspended",), True, "anyone")
    await box.claim(accept="contacts")  # the owner may still change settings, read and move
    await box.acknowledge("before")
    assert await box.texts() == []
    assert await box.store.operating.resume(BOB)
    assert not await box.store.operating.resume(BOB)
    assert (await box.page()).notices == ()
    assert await box.store.policy(BOB, ALICE) == replace(before, accept="contacts")


async def test_readers_are_told_that_an_inbox_is_suspended(tmp_path: Path, kind: Kind) -> None:
    told: list[bytes] = []
    async with claimed_box(tmp_path, kind=kind, changed=told.extend) as box:
        cursor = await box.cursor()
        assert box.store.end(BOB) in (None, cursor)
        told.clear()
        await box.store.operating.suspend(BOB)
        assert told == [BOB]
        assert box.store.end(BOB) is None
        assert (await box.page(cursor)).notices == ("suspended",)
        await box.store.operating.resume(BOB)
        assert told == [BOB, BOB]


async def test_who_is_suspended_stays_so_without_an_inbox_and_cannot_claim_one(box: Box, count: Count) -> None:
    await box.store.operating.suspend(BOB)
    assert await box.store.operating.drop(BOB)
    assert not await box.store.operating.drop(BOB)
    with pytest.raises(Refused, match="suspended"):
        await box.claim()
    assert count()["inbox"] == 0
    assert await box.store.operating.look_up(BOB) == Known(
        exists=False, suspended=True, unread=0, bytes=0, most_entries=None, most_bytes=None
    )
    await box.store.operating.resume(BOB)
    assert await box.claim()


async def test_a_dropped_inbox_takes_everything_with_it_and_nothing_of_others(box: Box, count: Count) -> None:
    await box.of(CAROL).claim(names=(b"carol.id, keyed.",), contacts=(ALICE,))
    await box.of(CAROL).deliver("to Carol")
    await box.deliver("to Bob")
    for number in range(8):
        await box.of(CAROL).deliver(f"{number}")
    assert await box.store.operating.drop(CAROL)
    assert count() == {"inbox": 1, "name": 0, "listed": 0, "subscription": 0, "message": 1, "logged": 0, "invite": 0}
    with pytest.raises(Refused, match="no_inbox"):
        await box.of(CAROL).page()
    assert await box.texts() == ["to Bob"]


@pytest.mark.parametrize(("entries", "size", "room"), [(12, 120, 12), (3, None, 3), (None, 70, 7), (50, 150, 15)])
async def test_an_inbox_may_have_a_quota_of_its_own(box: Box, entries: int | None, size: int | None, room: int) -> None:
    assert await box.store.operating.set_quota(BOB, entries, size)
    for number in range(room):
        await box.deliver(f"a text. {number:02}")
    with pytest.raises(Refused, match="inbox_full"):
        await box.deliver("a text more")
    known, settings = await box.store.operating.look_up(BOB), await box.settings()
    assert (known.unread, known.bytes, known.most_entries, known.most_bytes) == (room, 10 * room, entries, size)
    assert (settings.most_entries, settings.most_bytes) == (entries, size)
    assert await box.store.operating.set_quota(BOB, None, None)
    await box.acknowledge(*(await box.texts())[:room])
    for number in range(10):
        await box.deliver(f"{number}")
    with pytest.raises(Refused, match="inbox_full"):
        await box.deliver("the eleventh")


async def test_a_smaller_quota_loses_nothing(box: Box) -> None:
    for number in range(5):
        await box.deliver(f"{number}")
    await box.store.operating.set_quota(BOB, 2, 2)
    assert len(await box.texts()) == 5
    assert not (await box.deliver("1")).new
    with pytest.raises(Refused, match="inbox_full"):
        await box.deliver("5")


async def test_what_is_not_there_has_no_quota(box: Box) -> None:
    assert not await box.store.operating.set_quota(CAROL, 1, 1)


async def test_invites_are_listed_and_revoked_by_how_they_begin(box: Box, tmp_path: Path, kind: Kind) -> None:
    codes = [bytes.fromhex(f"{start}{'00' * 14}") for start in ("aabb", "aacc", "ddee", "ffff")]
    expiries = [UnixTime(box.clock() + after) for after in (300, 200, 100, 0)]
    for code, expires in zip(codes, expiries, strict=True):
        await kind.add_invite(tmp_path, code, expires=expires)
    operating = box.store.operating
    assert await operating.invites(box.clock()) == tuple(
        Invite(code, expires) for code, expires in reversed(list(zip(codes, expiries, strict=True))[:3])
    )
    assert [await operating.revoke_invite(handle) for handle in ("aa", "b", "ddee", "ddee")] == [2, 0, 1, 0]
    assert [invite.code for invite in await operating.invites(box.clock())] == [codes[1], codes[0]]
    with pytest.raises(Refused, match="not_registered"):
        await box.of(CAROL).claim(admission=replace(ADMISSION, invite=codes[2]))
    assert await box.of(CAROL).claim(admission=replace(ADMISSION, invite=codes[0]))


async def test_a_draining_store_takes_nothing_new_and_lets_owners_work(
    box: Box, tmp_path: Path, kind: Kind, count: Count
) -> None:
    await kind.add_invite(tmp_path, b"an invite, keyed", expires=UnixTime(box.clock() + 100))
    await box.deliver("before")
    assert not box.store.operating.draining
    assert await box.store.operating.drain(on=True)
    assert not await box.store.operating.drain(on=True)
    assert box.store.operating.draining
    for text in ("before", "after"):
        with pytest.raises(Unavailable, match="draining"):
            await box.deliver(text)
    with pytest.raises(Unavailable, match="draining"):
        await box.of(CAROL).claim(admission=replace(ADMISSION, invite=b"an invite, keyed"))
    assert (count()["inbox"], count()["invite"]) == (1, 1)
    await box.claim(accept="nobody")
    assert await box.texts() == ["before"]
    await box.acknowledge("before")
    assert await box.store.forget(BOB, issued=box.clock(), request=b"a DELETE request")
    assert await box.store.operating.drain(on=False)
    assert not await box.store.operating.drain(on=False)
    assert await box.claim()
    assert (await box.deliver("after")).new


async def test_it_drains_until_it_is_ended_also_after_a_restart(tmp_path: Path, kind: Kind) -> None:
    async with claimed_box(tmp_path, kind=kind) as box:
        await box.store.operating.drain(on=True)
    async with kind.open(tmp_path, quota=QUOTA, changed=lambda _: None) as store:
        assert store.operating.draining
        with pytest.raises(Unavailable, match="draining"):
            await replace(box, store=store).deliver("after")


async def test_vacuuming_keeps_every_text_and_may_be_repeated(box: Box) -> None:
    await box.store.operating.set_quota(BOB, 2000, 100_000)
    texts = [f"text {number}" for number in range(1500)]
    for text in texts:
        await box.deliver(text)
    first = await box.page(limit=1)
    await box.acknowledge(*texts[:-9])
    before = await box.store.operating.overview()
    given_back = await box.store.operating.vacuum()
    after = await box.store.operating.overview()
    assert given_back == before.file_bytes - after.file_bytes > before.free_bytes // 2
    assert await box.texts() == texts[-9:]
    assert len((await box.page(first.cursor)).read) + 9 == 1000
    assert await box.store.operating.vacuum() == 0
    for text in texts[:9]:
        await box.deliver(f"new {text}")
    assert await box.texts() == texts[-9:] + [f"new {text}" for text in texts[:9]]
