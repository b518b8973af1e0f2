"""The fetcher against hosts that send too much, too slowly, or what nobody can read; and what it tells them of us."""

import asyncio
import gzip
import itertools
import secrets
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable, open_fetcher
from tests.support.canary import Answer, answering, response, run_fast, running_coast

MAX_BYTES = 10_000
TOTAL_SECONDS = 8  # over all redirects
READ_SECONDS = 4  # between two pieces of an answer
SLACK_SECONDS = 2.5  # a quarter of a second on the wall


def saying(*pieces: bytes) -> Answer:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)

    return answer


async def fetch(answer: Answer, *, redirects: int = 0) -> bytes:
    """What the fetcher makes of this answer, with the limits that profiles have but for the size."""
    async with answering(answer) as port, open_fetcher(allow=frozenset()) as fetcher:
        return await fetcher.get(
            f"http://127.0.0.1:{port}/x", max_bytes=MAX_BYTES, redirects=redirects, configured=True
        )


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    async with open_fetcher(allow=frozenset()) as fetcher:
        yield fetcher


CHUNK = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, MAX_BYTES - 1, MAX_BYTES])
async def test_a_body_up_to_the_limit_is_given_whole(size: int) -> None:
    assert await fetch(saying(response(b"x" * size))) == b"x" * size
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"y" * size,) if part) + b"0\r\n\r\n"
    assert await fetch(saying(CHUNKED + chunks)) == b"y" * size


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 200_000, 5_000_000])
async def test_a_larger_body_is_refused(size: int) -> None:
    with pytest.raises(Unreachable):
        await fetch(saying(response(b"x" * size)))
    with pytest.raises(Unreachable):
        await fetch(saying(CHUNKED + CHUNK * (size // 1000 + 1) + b"0\r\n\r\n"))
    with pytest.raises(Unreachable):  # neither a length nor chunks: until it closes
        await fetch(saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * size))


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_interim_answers_without_end_are_left_soon(interim: bytes) -> None:
    """aiohttp reads them for ever, and holds up everybody meanwhile."""
    sent = 0

    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(interim * 1000)
            sent += len(interim) * 1000
            await writer.drain()

    async with asyncio.timeout(2):
        with pytest.raises(Unreachable):
            await fetch(endless)
    assert sent < 20_000_000  # what the system's buffers took


async def test_a_few_interim_answers_come_before_an_answer() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert await fetch(saying(interim, response(b"here"))) == b"here"


async def test_a_body_without_end_is_left_soon() -> None:
    sent = 0

    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while True:
            writer.write(CHUNK)
            sent += 1000
            await writer.drain()

    async with asyncio.timeout(2):
        with pytest.raises(Unreachable):
            await fetch(endless)
    assert sent < 20_000_000  # what the kernel's buffers take


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, identity", "identity, gzip", "x"]
)
async def test_an_encoded_body_is_refused(encoding: str) -> None:
    bomb = gzip.compress(b"\0" * 5_000_000)
    assert len(bomb) < MAX_BYTES
    with pytest.raises(Unreachable):
        await fetch(saying(response(bomb, f"Content-Encoding: {encoding}")))


CUT = gzip.compress(b"x" * 5000, mtime=0)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
@pytest.mark.parametrize("size", [0, 1, MAX_BYTES - 1, MAX_BYTES])
async def test_what_always_comes_gzipped_is_decoded(encoding: str, size: int) -> None:
    sent = response(gzip.compress(b"x" * size), f"Content-Encoding: {encoding}")
    assert await fetch(saying(sent)) == b"x" * size
    assert await fetch(saying(*(sent[start : start + 7] for start in range(0, len(sent), 7)))) == b"x" * size


@pytest.mark.parametrize(
    "sent",
    [
        gzip.compress(b"x" * (MAX_BYTES + 1)),
        gzip.compress(b"\0" * 50_000_000),
        gzip.compress(secrets.token_bytes(MAX_BYTES)),  # longer than it is decoded
        gzip.compress(b"") + b"\0" * MAX_BYTES,
        CUT[:10] + b"\0\0\0\xff\xff" * MAX_BYTES,  # blocks of nothing without end
        CUT[:3] + b"\x08" + CUT[4:10] + b"n" * MAX_BYTES,  # a file name without end
        CUT[:-1],
        CUT[:-8],
        CUT[:5],
        b"",
        CUT[:-8] + bytes(8),
        CUT + b"x",
        CUT + CUT,
        zlib.compress(b"x"),
        b"plain",
    ],
    ids=itertools.count(),
)
async def test_what_is_not_one_gzip_file_within_the_limit_is_a_failure(sent: bytes) -> None:
    with pytest.raises(Unreachable):
        await fetch(saying(response(sent, "Content-Encoding: gzip")))


async def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """1,000 bytes of zeros for each byte that is sent: as much as gzip can hold."""
    bomb = response(gzip.compress(b"\0" * 9_000_000), "Content-Encoding: gzip")
    async with answering(saying(bomb)) as port, open_fetcher(allow=frozenset()) as fetcher:
        tracemalloc.start()
        try:
            with pytest.raises(Unreachable):
                await fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=MAX_BYTES, configured=True)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.parametrize("encodings", [("identity", "gzip"), ("gzip", "gzip"), ("gzip", "identity"), ("", "")])
async def test_two_encodings_are_refused(encodings: tuple[str, str]) -> None:
    headers = [f"Content-Encoding: {encoding}" for encoding in encodings]
    with pytest.raises(Unreachable):
        await fetch(saying(response(gzip.compress(b"x"), *headers)))


@pytest.mark.parametrize("compressed", [gzip.compress(b"\0" * 1_000_000), zlib.compress(b"\0" * 1_000_000)])
async def test_nothing_is_decompressed(compressed: bytes) -> None:
    assert await fetch(saying(response(compressed))) == compressed
    assert await fetch(saying(response(compressed, "Content-Encoding: identity"))) == compressed
    assert await fetch(saying(response(compressed, "Content-Type: application/gzip"))) == compressed


MALFORMED = {
    "nothing": b"",
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "another protocol": b"220 smtp.example ESMTP ready\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "a version nobody has": b"HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 1\r\n\r\nx",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
    "100 headers": response(b"x", *(f"X-{number}: x" for number in range(100))),
    "500 headers": response(b"x", *(f"X-{number}: x" for number in range(500))),
    "a long header": response(b"x", "X: " + "x" * 5000),
    "a long header name": response(b"x", "X" * 5000 + ": x"),
    "a long status line": response(b"x", status="200 " + "x" * 5000),
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    "no length that is a number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nx",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a body cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx",
    "chunks cut short": CHUNKED + CHUNK,
    "a chunk of no size": CHUNKED + b"zz\r\nx\r\n0\r\n\r\n",
    "a chunk of a negative size": CHUNKED + b"-5\r\nx\r\n0\r\n\r\n",
    "a chunk's size without end": CHUNKED + b"1" * 100_000,
    "headers cut short": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a redirect to what is no text": b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "a redirect with two locations": b"HTTP/1.1 302 Found\r\nLocation: //a.test\r\nLocation: //b.test\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("redirects", [0, 2])
async def test_an_answer_that_is_not_well_formed_is_a_failure(raw: bytes, redirects: int) -> None:
    async with asyncio.timeout(3):
        with pytest.raises(Unreachable):
            await fetch(saying(raw), redirects=redirects)


async def test_some_dozens_of_headers_are_taken() -> None:
    assert await fetch(saying(response(b"x", *(f"X-{number}: x" for number in range(50))))) == b"x"


async def test_a_host_that_is_not_there_is_unreachable(fetcher: Fetcher) -> None:
    async with answering(saying()) as port:
        pass
    with pytest.raises(Unreachable):
        await fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=1, configured=True)


# Time. These run in a loop whose seconds are a tenth of a second.


async def say_nothing(head: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def stop_within_the_body(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(response(b"x" * 100)[:-50])
    await asyncio.sleep(60)


async def drip_a_body(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(60):
        writer.write(b"x")
        await asyncio.sleep(1)


async def drip_headers(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(60):
        writer.write(b"X-%d: x\r\n" % number)
        await asyncio.sleep(1)


async def drip_one_header(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(60):
        writer.write(b"x")
        await asyncio.sleep(1)


async def say_continue_for_ever(head: bytes, writer: asyncio.StreamWriter) -> None:
    for _ in range(60):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(1)


async def redirect_slowly(head: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(READ_SECONDS - 1)
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


SLOW: dict[Answer, int] = {
    say_nothing: READ_SECONDS,
    stop_within_the_body: READ_SECONDS,
    drip_a_body: TOTAL_SECONDS,
    drip_headers: TOTAL_SECONDS,
    drip_one_header: TOTAL_SECONDS,
    say_continue_for_ever: TOTAL_SECONDS,
    redirect_slowly: TOTAL_SECONDS,
}


async def seconds_until_cut(answer: Answer) -> float:
    loop = asyncio.get_running_loop()
    async with answering(answer) as port, open_fetcher(allow=frozenset({f"http://127.0.0.1:{port}"})) as fetcher:
        began = loop.time()
        with pytest.raises(Unreachable):
            await fetcher.get(f"http://127.0.0.1:{port}/x", max_bytes=MAX_BYTES, redirects=5)
        return loop.time() - began


@pytest.mark.parametrize("answer", SLOW)
def test_a_slow_host_is_cut_off_in_time(answer: Answer) -> None:
    assert run_fast(seconds_until_cut(answer)) < SLOW[answer] + SLACK_SECONDS


# What a host learns of us.


async def test_a_request_has_no_header_but_these(fetcher: Fetcher) -> None:
    async with running_coast() as coast:
        await fetcher.get(coast.url("/x?y"), max_bytes=MAX_BYTES, configured=True)
        (head,) = coast.asked
    first, *lines = head.decode().strip().split("\r\n")
    assert first == "GET /x?y HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    headers.pop("Connection", None)
    assert headers == {
        "Host": f"127.0.0.1:{coast.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "inbox-server",
    }


async def test_cookies_are_neither_kept_nor_sent(fetcher: Fetcher) -> None:
    heads = []

    async def bake(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        writer.write(response(b"x", "Set-Cookie: tracked=yes; Path=/", "Set-Cookie: more=1"))

    async with answering(bake) as port:
        for _ in range(3):
            await fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=MAX_BYTES, configured=True)
    assert len(heads) == 3
    assert not any(b"cookie" in head for head in heads)


@pytest.mark.parametrize("redirected", [False, True])
async def test_credentials_of_the_environment_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redirected: bool
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with running_coast() as coast:
        coast.location = "/x"
        async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
            await fetcher.get(coast.url("/to" if redirected else "/x"), max_bytes=MAX_BYTES, redirects=1)
        assert coast.asked
        assert not any(b"authorization" in head.lower() or b"referer" in head.lower() for head in coast.asked)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_coast() as coast:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, coast.url(host="127.0.0.2"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
            assert await fetcher.get(coast.url("/x"), max_bytes=MAX_BYTES) == b"public"
            assert await fetcher.get(coast.url("/x"), max_bytes=MAX_BYTES, configured=True) == b"public"
            with pytest.raises(Unreachable):  # getaddrinfo reads it as a number, and it is refused for it
                await fetcher.get("https://127.0.0.0x1/", max_bytes=MAX_BYTES)
        assert coast.hits == []


# What leaves: bytes, or one of two failures that say nothing.


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_what_is_not_there_is_absent(status: int) -> None:
    with pytest.raises(Absent):
        await fetch(saying(response(b"x", status=f"{status} X")))


@pytest.mark.parametrize(
    "status",
    [201, 202, 204, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 405, 418, 429, 499, 500, 502, 503, 999],
)
async def test_every_other_status_is_a_failure(status: int) -> None:
    body = b"" if status in (204, 304) else b"x"
    with pytest.raises(Unreachable):
        await fetch(saying(response(body, "Location: /elsewhere", status=f"{status} X")))


@pytest.mark.parametrize(("status", "failure"), [(400, Absent), (404, Absent), (403, Unreachable), (410, Unreachable)])
async def test_a_caller_may_say_which_statuses_mean_absent(
    fetcher: Fetcher, status: int, failure: type[Exception]
) -> None:
    async with answering(saying(response(b"x", status=f"{status} X"))) as port:
        with pytest.raises(failure):
            await fetcher.get(
                f"http://127.0.0.1:{port}/", max_bytes=MAX_BYTES, configured=True, absent=frozenset({400, 404})
            )


SECRET = "sesame"
TELLING = {
    "a status's text": response(SECRET.encode(), f"X: {SECRET}", status=f"500 {SECRET}"),
    "nothing there": response(SECRET.encode(), f"X: {SECRET}", status=f"404 {SECRET}"),
    "a redirect": response(b"", f"Location: http://{SECRET}.internal/{SECRET}", status=f"302 {SECRET}"),
    "an encoding": response(SECRET.encode(), f"Content-Encoding: {SECRET}"),
    "too much": response(SECRET.encode() * MAX_BYTES),
    "a broken header": f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode(),
    "a broken chunk": CHUNKED + SECRET.encode() + b"\r\n",
    "garbage": SECRET.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("raw", TELLING.values(), ids=TELLING.keys())
async def test_a_failure_says_nothing_of_the_host_or_its_answer(fetcher: Fetcher, raw: bytes) -> None:
    async with answering(saying(raw)) as port:
        with pytest.raises((Absent, Unreachable)) as failure:
            await fetcher.get(f"http://127.0.0.1:{port}/{SECRET}", max_bytes=MAX_BYTES, redirects=1, configured=True)
    assert failure.value.args == ()
    assert failure.value.__cause__ is None
    shown = "".join(traceback.format_exception(failure.value))
    said = [line for line in shown.splitlines() if not line.startswith("  ")]  # but for the source's own lines
    assert not any(SECRET in line or "127.0.0.1" in line or str(port) in line for line in said)
