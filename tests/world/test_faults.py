"""What goes wrong in the local world when it is told to, and that it ends."""

import json

import pytest

from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.hub_writer import ALICE, CONTENT, ETAG, Writer


@pytest.fixture
async def writer(world: World) -> Writer:
    writer = Writer(world)
    await writer.store("a")
    return writer


async def test_names_lapse_for_as_long_as_was_said(world: World, writer: Writer, clock: HandClock) -> None:
    await world.settle("carol.id", APP)
    url = f"{world.names_url}/v1/names/carol.id"
    world.faults.names_absent_until = clock() + 2
    assert (await writer.get(url)).status == 404
    world.faults.names_empty_until = clock() + 4
    clock.advance(2)
    empty = await writer.get(url)
    assert (empty.status, json.loads(empty.body)["zonefile"]) == (200, "")
    clock.advance(2)
    assert "URI" in json.loads((await writer.get(url)).body)["zonefile"]


async def test_files_lapse_for_as_long_as_was_said(world: World, writer: Writer, clock: HandClock) -> None:
    world.faults.files_absent_until = clock() + 2
    assert (await writer.read("a")).status == 404
    clock.advance(2)
    assert (await writer.read("a")).body == CONTENT


async def test_a_cache_remembers_that_a_file_was_not_there(world: World, writer: Writer, clock: HandClock) -> None:
    world.faults.absence_seconds = 60
    assert (await writer.read("b")).status == 404
    await writer.store("b")
    assert (await writer.read("b")).status == 404
    clock.advance(60)
    assert (await writer.read("b")).body == CONTENT


async def test_reads_are_redirected_as_often_as_was_said(world: World, writer: Writer) -> None:
    world.faults.redirects, world.faults.redirect_status = 2, 301
    url = f"{world.read_url}{ALICE.address}/a"
    async with world.session.get(url) as response:
        assert [each.status for each in response.history] == [301, 301]
        assert await response.read() == CONTENT


async def test_files_come_gzipped(world: World, writer: Writer) -> None:
    world.faults.gzip = True
    read = await writer.read("a", Accept_Encoding="identity")
    assert (read.headers["Content-Encoding"], read.body) == ("gzip", CONTENT)  # which aiohttp decodes


async def test_one_write_is_refused_and_the_next_is_not(world: World, writer: Writer) -> None:
    world.faults.refused_writes.append((429, 1))
    refused = await writer.store("a")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert (await writer.store("a")).status == 202


async def test_a_file_is_cut_and_keeps_its_tag(world: World, writer: Writer) -> None:
    world.hub.cut(ALICE.address, "a", 2)
    read = await writer.read("a")
    assert (read.status, read.body, read.headers["ETag"]) == (200, CONTENT[:2], ETAG)


async def test_the_hub_asks_for_other_tokens(world: World, writer: Writer) -> None:
    world.hub.challenge = world.hub.challenge.replace("local.hub", "moved.hub")
    info = await writer.get(f"{world.hub_url}/hub_info")
    assert json.loads(info.body)["challenge_text"] == world.hub.challenge
    assert (await writer.store("a")).status == 401
    assert (await writer.store("a", Authorization=writer.bearer(gaiaChallenge=world.hub.challenge))).status == 202
