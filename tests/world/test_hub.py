"""The local world's Gaia hub over HTTP: what the real hub answers, and refuses, and how."""

import asyncio
import base64
import hashlib
import io
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from inbox_server.world.hub import CHALLENGE, MAX_FILE_BYTES, Hub
from inbox_server.world.hub_refusals import HubRefused
from inbox_server.world.local_world import World
from tests.conftest import START, HandClock
from tests.support.hub_writer import ALICE, CONTENT, ETAG, MALLORY, Writer, assert_refused

OTHER_ETAG = hashlib.md5(b"other").hexdigest()


@pytest.fixture
def writer(world: World) -> Writer:
    return Writer(world)


# Storing and reading


async def test_what_is_stored_is_read_with_its_type_its_tag_and_its_time(writer: Writer) -> None:
    stored = await writer.store("a/b.txt", Content_Type="text/plain; charset=utf-8")
    assert stored.status == 202
    assert stored.document == {"publicURL": f"{writer.world.read_url}{ALICE.address}/a/b.txt", "etag": ETAG}

    read = await writer.get(stored.document["publicURL"])
    assert (read.status, read.body) == (200, CONTENT)
    assert read.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert read.headers["ETag"] == ETAG
    assert read.headers["Last-Modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert read.headers["Cache-Control"] == "no-cache"
    assert read.headers["Access-Control-Allow-Origin"] == "*"
    assert read.headers["Access-Control-Expose-Headers"] == "Content-Type,ETag"

    head = await writer.read("a/b.txt", "HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", ETAG)
    assert (await writer.read("a/b.txt/")).body == CONTENT  # the real one drops one slash at the end


async def test_a_reader_that_has_the_file_is_told_so(writer: Writer) -> None:
    await writer.store("a")
    same = await writer.read("a", If_None_Match=ETAG)
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", ETAG)
    assert (await writer.read("a", If_None_Match=OTHER_ETAG)).body == CONTENT


async def test_a_file_that_is_not_there_is_not_found_and_a_page_can_tell(writer: Writer) -> None:
    answer = await writer.read("nothing")
    assert (answer.status, answer.body) == (404, b"File not found")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


# Conditions

CONDITIONS = [
    pytest.param(True, {}, 202, id="none writes over"),
    pytest.param(False, {"If_None_Match": "*"}, 202, id="a new file"),
    pytest.param(True, {"If_None_Match": "*"}, 412, id="a new file that is there"),
    pytest.param(True, {"If_Match": ETAG}, 202, id="the file that was read"),
    pytest.param(True, {"If_Match": OTHER_ETAG}, 412, id="a file that changed"),
    pytest.param(False, {"If_Match": ETAG}, 412, id="a file that was deleted"),
    pytest.param(True, {"If_Match": "*"}, 202, id="any file"),
    pytest.param(False, {"If_Match": "*"}, 202, id="any file or none"),
    pytest.param(True, {"If_None_Match": ETAG}, 412, id="none of a tag"),
    pytest.param(False, {"If_None_Match": ETAG}, 412, id="none of a tag, of no file"),
    pytest.param(False, {"If_Match": "*", "If_None_Match": "*"}, 412, id="both"),
]


@pytest.mark.parametrize(("is_there", "headers", "status"), CONDITIONS)
async def test_a_condition_that_does_not_hold_stores_nothing(
    writer: Writer, is_there: bool, headers: Mapping[str, str], status: int
) -> None:
    if is_there:
        await writer.store("a")
    answer = await writer.store("a", b"other", **headers)
    read = await writer.read("a")
    if status == 202:
        assert (answer.status, answer.document["etag"]) == (202, OTHER_ETAG)
        assert read.body == b"other"
        return
    assert_refused(answer, 412, "PreconditionFailedError", **({"etag": ETAG} if is_there else {}))
    assert (read.status, read.body) == ((200, CONTENT) if is_there else (404, b"File not found"))


async def test_while_one_is_storing_another_conflicts_and_then_may(writer: Writer) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()  # the hub said 100 Continue, so it has the path
        yield CONTENT
        await finish.wait()

    url, headers = f"{writer.world.hub_url}/store/{ALICE.address}/a", {"Authorization": writer.bearer()}
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(writer.get(url, "POST", slowly(), headers | {"Expect": "100-continue"}))
        await begun.wait()
        assert_refused(await writer.store("a", b"other"), 409, "ConflictError")
        assert_refused(await writer.delete("a"), 409, "ConflictError")
        assert (await writer.store("b", b"other")).status == 202
        finish.set()
    assert slow.result().status == 202
    assert (await writer.read("a")).body == CONTENT
    assert (await writer.delete("a")).status == 202


# Deleting and listing


async def test_what_is_deleted_is_gone_and_cannot_be_deleted_twice(writer: Writer) -> None:
    await writer.store("a/b.txt")
    await writer.store("a/c.txt")
    deleted = await writer.delete("a/b.txt")
    assert (deleted.status, deleted.body) == (202, b"")
    assert (await writer.read("a/b.txt")).status == 404
    assert_refused(await writer.delete("a/b.txt"), 404, "DoesNotExist")
    assert_refused(await writer.delete("a"), 404, "DoesNotExist")  # a folder is no file
    assert await writer.list() == {"entries": ["a/c.txt"], "page": None}


async def test_a_bucket_is_listed_in_pages_to_its_end(writer: Writer) -> None:
    paths = [f"d/ü {number:03}" for number in range(250)]
    for path in reversed(paths):
        writer.world.hub.store(ALICE.address, path, CONTENT, "text/plain")
    listed, page, sizes = [], None, []
    for _ in range(3):
        answer = await writer.list(page=page)
        listed += answer["entries"]
        sizes.append(len(answer["entries"]))
        page = answer["page"]
        assert page is None or page.isascii()
    assert page is None
    assert listed == paths
    assert sizes == [100, 100, 50]


async def test_deleting_each_page_after_it_was_listed_leaves_nothing(writer: Writer) -> None:
    for number in range(250):
        writer.world.hub.store(ALICE.address, str(number), b"", "text/plain")
    page = None
    for _ in range(3):
        answer = await writer.list(page=page)
        for path in answer["entries"]:
            await writer.delete(path)
        page = answer["page"]
    assert await writer.list() == {"entries": [], "page": None}


async def test_a_full_last_page_has_none_after_it(writer: Writer) -> None:
    for number in range(100):
        writer.world.hub.store(ALICE.address, f"{number:02}", b"", "text/plain")
    assert (await writer.list())["page"] is None


async def test_a_listing_tells_size_time_and_tag_when_asked_and_only_of_this_bucket(writer: Writer) -> None:
    await writer.store("a")
    writer.world.hub.store(MALLORY.address, "b", b"", "text/plain")
    entry = {"name": "a", "lastModifiedDate": START, "contentLength": len(CONTENT), "etag": ETAG}
    assert await writer.list(stat=True) == {"entries": [entry], "page": None}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'{"page": 1}', b"\xff", b"[" * 4096, b'{"page": "%s"}' % (b"x" * 4096)],
    ids=["cut", "list", "null", "number", "bytes", "deep", "long"],
)
async def test_a_listing_that_is_asked_for_wrongly_is_refused(writer: Writer, body: bytes) -> None:
    answer = await writer.ask("POST", f"/list-files/{ALICE.address}", body)
    assert answer.status == 400
    assert answer.document["message"].startswith("Invalid JSON: ")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_listing_may_be_asked_for_without_a_body(writer: Writer, end: str) -> None:
    answer = await writer.ask("POST", f"/list-files/{ALICE.address}{end}")
    assert (answer.status, answer.document) == (202, {"entries": [], "page": None})


# Who may


def bent(**claims: Any) -> Any:
    return lambda writer: writer.bearer(**claims)


def legacy(writer: Writer) -> str:
    """As clients proved themselves before version 1."""
    proof = {"publickey": ALICE.public, "signature": ALICE.sign(CHALLENGE.encode()).hex()}
    return f"bearer {base64.b64encode(json.dumps(proof).encode()).decode()}"


BAD_TOKENS = {
    "none": lambda writer: "",
    "another scheme": lambda writer: writer.bearer().replace("bearer", "basic"),
    "no version": lambda writer: writer.bearer().replace("v1:", ""),
    "the time before version 1": legacy,
    "not a token": lambda writer: "bearer v1:a.b.c",
    "another's key": lambda writer: Writer(writer.world, MALLORY).bearer(),
    "another's signature": lambda writer: Writer(writer.world, MALLORY).bearer(iss=ALICE.public),
    "no key": bent(iss=""),
    "not a key": bent(iss="02" * 33),
    "another challenge": bent(gaiaChallenge=CHALLENGE.replace("local.hub", "hub.example")),
    "another hub": bent(hubUrl="https://hub.example"),
    "a hub that is no text": bent(hubUrl=5),
    "expired": bent(exp=START - 1),
    "never expires": bent(exp=float("nan")),
    "expires in words": bent(exp="2030-01-01"),
    "scopes": bent(scopes=[{"scope": "putFile", "domain": "a"}]),
    "association": bent(associationToken="x"),
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_nobody_writes_deletes_or_lists_without_a_token_of_the_bucket_s_key(writer: Writer, token: Any) -> None:
    await writer.store("a")
    authorization = token(writer)
    assert_refused(await writer.store("a", b"other", Authorization=authorization), 401, "ValidationError")
    assert_refused(await writer.delete("a", Authorization=authorization), 401, "ValidationError")
    listing = await writer.ask("POST", f"/list-files/{ALICE.address}", Authorization=authorization)
    assert_refused(listing, 401, "ValidationError")
    assert (await writer.read("a")).body == CONTENT


@pytest.mark.parametrize("claims", [{"exp": START + 0.5}, {"salt": secrets.token_hex(16)}, {"iat": "yesterday"}])
async def test_a_token_may_say_more(writer: Writer, claims: Mapping[str, Any]) -> None:
    assert (await writer.store("a", Authorization=writer.bearer(**claims))).status == 202


# Bounds


@pytest.mark.parametrize("path", ["a..b", "%2e%2e%2fb", "x" * 1025, "ü" * 513, "a/" * 100 + "a"])
async def test_a_path_that_leads_elsewhere_or_is_too_long_is_refused(writer: Writer, path: str) -> None:
    assert_refused(await writer.store(path), 403, "BadPathError")
    assert_refused(await writer.delete(path), 403, "BadPathError")


async def test_the_mark_of_the_longest_path_fits_into_the_request_for_the_next_page(writer: Writer) -> None:
    for number in range(101):
        writer.world.hub.store(ALICE.address, "ü" * 510 + f"{number:04}", b"", "text/plain")
    page = (await writer.list())["page"]
    assert len((await writer.list(page=page))["entries"]) == 1


async def test_a_file_that_is_too_large_is_refused_whether_it_says_so_or_not(writer: Writer) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 1 << 20):
            yield bytes(min(1 << 20, size - start))

    assert_refused(await writer.store("a", io.BytesIO(bytes(MAX_FILE_BYTES + 1))), 413, "PayloadTooLargeError")
    assert_refused(await writer.store("a", chunks(MAX_FILE_BYTES + 1)), 413, "PayloadTooLargeError")
    assert (await writer.store("a", chunks(MAX_FILE_BYTES))).status == 202


def test_all_files_together_are_bounded_and_deleting_makes_room(clock: HandClock) -> None:
    hub = Hub(clock, max_bytes=10)
    hub.store("x", "a", b"12345", "")
    hub.store("x", "a", b"1234567", "")  # in place of the first
    with pytest.raises(HubRefused) as refused:
        hub.store("y", "b", b"1234", "")
    assert refused.value.status == 413
    hub.delete("x", "a")
    hub.store("y", "b", b"1234567890", "")


# Pages in browsers


@pytest.mark.parametrize(
    ("server", "method", "headers"),
    [
        ("hub_url", "DELETE", "Authorization"),
        ("hub_url", "POST", "Authorization,Content-Type,If-Match,If-None-Match"),
        ("read_url", "GET", "*"),
    ],
)
async def test_a_preflight_is_answered_on_both_sides(writer: Writer, server: str, method: str, headers: str) -> None:
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": method}
    answer = await writer.get(f"{getattr(writer.world, server)}/any/where", "OPTIONS", headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method in answer.headers["Access-Control-Allow-Methods"].split(",")
    assert set(headers.split(",")) <= set(answer.headers["Access-Control-Allow-Headers"].split(","))
    assert answer.headers["Access-Control-Max-Age"] == "86400"


@pytest.mark.parametrize("server", ["hub_url", "read_url"])
async def test_a_page_can_read_that_a_route_or_a_method_is_not_there(writer: Writer, server: str) -> None:
    for method, status in (("GET", {404}), ("PUT", {404, 405})):
        answer = await writer.get(f"{getattr(writer.world, server)}/nowhere", method)
        assert answer.status in status
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
