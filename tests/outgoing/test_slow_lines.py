"""A large file on a slow line: more time for as much as comes, and none for who only keeps us waiting."""

import asyncio

from inbox_server.outgoing.dialling import TOTAL_SECONDS
from inbox_server.outgoing.fetch import Unreachable, open_fetcher
from tests.outgoing.test_fetch import drip_a_body
from tests.support.canary import Answer, answering, run_fast

_PIECE = b"x" * 32 * 1024
_PIECES = 16
_SLOWEST = 16 * 1024


async def slow_line(head: bytes, writer: asyncio.StreamWriter) -> None:
    """Nearly 64 KB a second, for longer than all else may last."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(_PIECE) * _PIECES))
    for _ in range(_PIECES):
        writer.write(_PIECE)
        await asyncio.sleep((TOTAL_SECONDS + 1) / _PIECES)


async def _fetched(answer: Answer, slowest: int | None) -> int | None:
    async with answering(answer) as port, open_fetcher(allow=frozenset({f"http://127.0.0.1:{port}"})) as fetcher:
        try:
            return len(await fetcher.get(f"http://127.0.0.1:{port}/x", max_bytes=1 << 20, slowest=slowest))
        except Unreachable:
            return None


async def _all() -> list[int | None]:
    asked = ((slow_line, _SLOWEST), (slow_line, None), (drip_a_body, _SLOWEST))
    return list(await asyncio.gather(*(_fetched(answer, slowest) for answer, slowest in asked)))


def test_time_grows_with_what_comes_and_only_where_it_was_asked_for() -> None:
    assert run_fast(_all()) == [len(_PIECE) * _PIECES, None, None]
