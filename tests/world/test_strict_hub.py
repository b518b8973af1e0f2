"""The local hub when it is as strict as the real one on a disk, and what both have: associations and `revoke-all`."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.world.hub_rules import STRICT
from inbox_server.world.local_world import World
from inbox_server.world.people import make_association_token, make_person
from tests.conftest import APP, START
from tests.support.hub_writer import ALICE, CONTENT, ETAG, MALLORY, Writer, assert_refused

strict = pytest.mark.parametrize("hub_rules", [STRICT], ids=["strict"])
IDENTITY = AppKey(bytes(range(3, 35)))


@pytest.fixture
def writer(world: World) -> Writer:
    world.hub.whitelist.add(ALICE.address)
    return Writer(world)


def association(**claims: Any) -> str:
    said = {"childToAssociate": ALICE.public, "iss": IDENTITY.public, "exp": START + 0.5, "iat": float(START)}
    return IDENTITY.token(said | claims)


@strict
async def test_half_of_an_upload_is_served_with_the_old_tag_and_stays_when_the_rest_does_not_come(
    writer: Writer,
) -> None:
    await writer.store("a")
    came = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"th"
        await came.wait()
        raise ConnectionError

    url, headers = f"{writer.world.hub_url}/store/{ALICE.address}/a", {"Authorization": writer.bearer()}
    upload = asyncio.create_task(writer.get(url, "POST", half(), headers))
    while (read := await writer.read("a")).body != b"th":
        pass
    assert (read.status, read.headers["ETag"]) == (200, ETAG)
    came.set()
    with suppress(aiohttp.ClientError, OSError):
        await upload
    read = await writer.read("a")
    assert (read.status, read.body, read.headers["ETag"]) == (200, b"th", ETAG)

    while (again := await writer.store("a", b"whole")).status == 409:  # the hub has not noticed yet
        pass
    assert again.status == 202
    assert (await writer.read("a")).body == b"whole"


@strict
async def test_a_token_without_the_hub_s_url_is_refused(writer: Writer) -> None:
    said = {"gaiaChallenge": writer.world.hub.challenge, "iss": ALICE.public}
    answer = await writer.store("a", Authorization=f"bearer v1:{ALICE.token(said)}")
    assert_refused(answer, 401, "ValidationError")
    assert "claimed hub" in answer.document["message"]


@strict
async def test_who_is_not_on_the_list_writes_when_somebody_on_it_vouches(writer: Writer) -> None:
    writer.world.hub.whitelist = {IDENTITY.address}
    answer = await writer.store("a")
    assert_refused(answer, 401, "ValidationError")
    assert answer.document["message"] == f"Address {ALICE.address} not authorized for writes"
    vouched = writer.bearer(associationToken=association())
    assert (await writer.store("a", Authorization=vouched)).status == 202
    writer.world.hub.whitelist = {MALLORY.address}
    assert_refused(await writer.store("a", Authorization=vouched), 401, "ValidationError")


@pytest.mark.parametrize(
    "token",
    [
        "x",
        5,
        association(childToAssociate=MALLORY.public),
        association(childToAssociate=None),
        association(exp=START - 1),
        association(exp=None),
        association(iss=MALLORY.public),
    ],
    ids=["no token", "a number", "another's app", "nobody's app", "expired", "without end", "another's signature"],
)
@pytest.mark.both_hubs
async def test_an_association_that_does_not_hold_is_refused_by_every_hub(writer: Writer, token: Any) -> None:
    authorization = writer.bearer(associationToken=token)
    assert_refused(await writer.store("a", Authorization=authorization), 401, "ValidationError")


@strict
async def test_people_of_the_world_have_an_association_that_the_hub_takes(world: World) -> None:
    person = await world.settle("carol.id", APP)
    claims = {"gaiaChallenge": world.hub.challenge, "hubUrl": world.hub_url, "iss": person.app_key.public}
    token = person.app_key.token(claims | {"associationToken": world.association_token(person)})
    url, headers = f"{world.hub_url}/store/{person.app_key.address}/a", {"Authorization": f"bearer v1:{token}"}
    async with world.session.post(url, data=CONTENT, headers=headers) as response:
        assert response.status == 202


def test_an_association_is_of_the_app_s_key_and_for_a_year() -> None:
    person = make_person("carol.id", APP, secrets.token_bytes)
    assert make_association_token(person, START, secrets.token_bytes).count(".") == 2


@pytest.mark.both_hubs
async def test_after_revoke_all_only_tokens_that_were_issued_later_count(writer: Writer) -> None:
    path = f"/revoke-all/{ALICE.address}"
    assert (await writer.ask("POST", path, b'{"oldestValidTimestamp": "x"}')).status == 400
    answer = await writer.ask("POST", path, json.dumps({"oldestValidTimestamp": START}))
    assert (answer.status, answer.document) == (202, {"status": "success"})
    for bearer in (writer.bearer(), writer.bearer(iat=START - 1), writer.bearer(iat="now")):
        assert_refused(await writer.store("a", Authorization=bearer), 401, "AuthTokenTimestampValidationError")
    assert (await writer.store("a", Authorization=writer.bearer(iat=START))).status == 202


@strict
@pytest.mark.parametrize("path", ["a/b/c", "a"], ids=["below a file", "over a folder"])
async def test_what_is_a_file_is_no_folder(writer: Writer, path: str) -> None:
    await writer.store("a/b")
    answer = await writer.store(path)
    assert (answer.status, answer.document) == (500, {"message": "Server Error"})


@strict
@pytest.mark.parametrize("folder", ["a", "a/b/"])
async def test_whoever_reads_a_folder_is_hung_up_on(writer: Writer, folder: str) -> None:
    await writer.store("a/b/c")
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await writer.read(folder)
    assert (await writer.read("a/b/c")).body == CONTENT


@strict
async def test_two_slashes_are_one(writer: Writer) -> None:
    await writer.store("a//b")
    assert (await writer.read("a/b")).body == (await writer.read("a///b")).body == CONTENT
    assert (await writer.list())["entries"] == ["a/b"]


@strict
@pytest.mark.parametrize("server", ["hub_url", "read_url"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_where_nothing_is_there_is_a_page_of_html(writer: Writer, server: str, method: str) -> None:
    answer = await writer.get(f"{getattr(writer.world, server)}/nowhere", method)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.body.startswith(b"<!DOCTYPE html>")


@strict
async def test_a_file_that_is_not_there_is_told_in_html_with_a_tag_of_its_own(writer: Writer) -> None:
    answer = await writer.read("nothing")
    assert (answer.status, answer.body) == (404, b"File not found")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["ETag"].startswith('W/"e-')
    assert answer.headers["Cache-Control"] == "no-cache"


@strict
@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("application/json", "application/json; charset=utf-8"),
        ("text/plain; charset=latin-1", "text/plain; charset=latin-1"),
        ("image/png", "image/png"),
    ],
)
async def test_text_and_json_are_said_to_be_utf8_unless_they_say_otherwise(
    writer: Writer, stored: str, read: str
) -> None:
    await writer.store("a", Content_Type=stored)
    assert (await writer.read("a")).headers["Content-Type"] == read


@strict
async def test_json_that_cannot_be_parsed_is_refused_in_html(writer: Writer) -> None:
    answer = await writer.ask("POST", f"/list-files/{ALICE.address}", b"{")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")


@strict
async def test_a_read_is_never_answered_not_modified_and_its_url_has_no_path_of_the_hub_s(writer: Writer) -> None:
    await writer.store("a")
    assert (await writer.read("a", If_None_Match=ETAG)).body == CONTENT
    assert writer.world.read_url.count("/") == 3
