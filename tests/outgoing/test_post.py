"""What the fetcher sends to others: under the same guards as what it asks of them, once, and without reading along."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable, open_fetcher
from tests.outgoing.test_ssrf import INTERNAL_TARGETS, ZONE, fetcher_of, session_of, unguarded
from tests.support.canary import (
    Answer,
    Coast,
    HandMonotonic,
    LyingResolver,
    answering,
    response,
    run_fast,
    running_coast,
)

HEADERS = {"TTL": "60", "Authorization": "vapid t=x, k=y"}


@pytest.fixture
async def coast() -> AsyncIterator[Coast]:
    async with running_coast() as coast:
        yield coast


def saying(answer: bytes, heads: list[bytes]) -> Answer:
    async def say(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(answer)

    return say


async def post_to(answer: bytes, *, times: int = 1, monotonic: HandMonotonic | None = None) -> list[bytes]:
    """Post to a host that answers so; the heads of what it got."""
    heads: list[bytes] = []
    async with (
        answering(saying(answer, heads)) as port,
        open_fetcher(allow=frozenset(), keep=False, monotonic=monotonic or HandMonotonic()) as fetcher,
    ):
        for _ in range(times):
            with contextlib.suppress(Unreachable):
                await fetcher.post(f"http://127.0.0.1:{port}/x", b"body", HEADERS, configured=True)
    return heads


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
async def test_what_is_taken_is_sent_once_with_its_headers(status: str) -> None:
    (head,) = await post_to(response(b"", status=status))
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"\r\nTTL: 60\r\n" in head
    assert b"\r\nAuthorization: vapid t=x, k=y\r\n" in head
    assert b"cookie" not in head.lower()


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("/a%2fb%2Fc", "/a%2fb%2Fc"),
        ("/%7Ebob/~/%41%zz", "/%7Ebob/~/%41%zz"),
        ("/a+b;c=1,d'e()*!$&@:", "/a+b;c=1,d'e()*!$&@:"),
        ("//a///b//", "//a///b//"),
        ("/a/../../b/./c/..", "/a/../../b/./c/.."),
        ("", "/"),
        ("?q=%2f", "/?q=%2f"),
        ("/x?", "/x?"),
        ("/x?a=%2f%20+b&&a=;/?", "/x?a=%2f%20+b&&a=;/?"),
    ],
)
async def test_path_and_query_are_sent_byte_for_byte_as_they_are_written(
    coast: Coast, written: str, target: str
) -> None:
    async with open_fetcher(allow=frozenset({coast.url()}), keep=False) as fetcher:
        await fetcher.post(coast.url(written), b"body", HEADERS)
    (head,) = coast.asked
    assert head.startswith(f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{coast.port}\r\n".encode())


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
async def test_what_is_gone_is_told_apart_from_what_fails(status: str) -> None:
    with pytest.raises(Absent):
        await post_to(response(b"", status=status))


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "403 Forbidden", "413 Too Large", "429 Slow", "500 Oh", "503 No"]
)
async def test_what_is_not_taken_is_a_failure(status: str) -> None:
    async with (
        answering(saying(response(b"why", status=status), [])) as port,
        open_fetcher(allow=frozenset(), keep=False) as fetcher,
    ):
        with pytest.raises(Unreachable):
            await fetcher.post(f"http://127.0.0.1:{port}/x", b"body", HEADERS, configured=True)


async def test_no_redirect_is_followed(coast: Coast) -> None:
    coast.location = coast.url("/elsewhere")
    async with open_fetcher(allow=frozenset({coast.url()}), keep=False) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.post(coast.url("/to"), b"body", HEADERS)
    assert len(coast.asked) == 1


async def test_an_answer_without_end_is_not_waited_for() -> None:
    """Only its head is read, so that no answer costs memory or time."""
    (head,) = await post_to(b"HTTP/1.1 201 Created\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)
    assert head


def test_a_host_that_says_nothing_is_given_up() -> None:
    async def silent(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def post() -> None:
        async with answering(silent) as port, open_fetcher(allow=frozenset(), keep=False) as fetcher:
            with pytest.raises(Unreachable):
                await fetcher.post(f"http://127.0.0.1:{port}/x", b"body", HEADERS, configured=True)

    run_fast(post())


async def test_nothing_is_posted_to_what_is_internal(coast: Coast) -> None:
    async with fetcher_of(coast, LyingResolver(ZONE, coast.port)) as fetcher:
        for target in INTERNAL_TARGETS:
            with pytest.raises(Unreachable):
                await fetcher.post(target.format(port=coast.port), b"body", HEADERS)
    assert (coast.hits, coast.asked) == ([], [])


async def test_the_same_posts_reach_the_canary_without_the_guard(coast: Coast) -> None:
    async with session_of(unguarded(coast)) as guarded, session_of(aiohttp.TCPConnector()) as trusted:
        fetcher = Fetcher(guarded=guarded, trusted=trusted, allow=frozenset())
        with pytest.raises(Unreachable):  # it speaks no TLS
            await fetcher.post("https://internal.example/", b"body", HEADERS)
    assert coast.hits


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (("Retry-After: 7",), 7),
        ((), 30),
        (("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT",), 30),
        (("Retry-After: -1",), 30),
        (("Retry-After: 999999999",), 3600),
    ],
)
async def test_a_url_that_has_too_much_is_left_alone_for_as_long_as_it_says_and_its_neighbours_are_not(
    said: tuple[str, ...], seconds: int
) -> None:
    monotonic, heads = HandMonotonic(), list[bytes]()
    answer = response(b"", *said, status="429 Too Many Requests")
    async with (
        answering(saying(answer, heads)) as port,
        open_fetcher(allow=frozenset(), keep=False, monotonic=monotonic) as fetcher,
    ):

        async def post() -> int:
            with pytest.raises(Unreachable):
                await fetcher.post(f"http://127.0.0.1:{port}/x", b"body", HEADERS, configured=True)
            return len(heads)

        async def post_to_a_neighbour() -> None:
            with pytest.raises(Unreachable):
                await fetcher.post(f"http://127.0.0.1:{port}/y", b"body", HEADERS, configured=True)
            assert heads.pop().startswith(b"POST /y ")

        assert [await post(), await post()] == [1, 1]
        await post_to_a_neighbour()
        monotonic.advance(seconds - 0.5)
        assert await post() == 1
        monotonic.advance(1)
        assert await post() == 2
