"""One request and its answer, of bounded size. `fetch.py` decides what may be asked, and what a status means."""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from inbox_server.outgoing.dialling import SLOW_LINE
from inbox_server.outgoing.guard import NotAllowed

MAX_ANSWER_BYTES: Final = 64 * 1024
REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
_GZIP: Final = zlib.MAX_WBITS | 16  # the header and the checksum of a gzip file around it

Came = Callable[[int], None]
"""Called with the number of bytes received."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an API of the operator's own answered."""

    status: int
    body: bytes | None
    """None when it was larger than `MAX_ANSWER_BYTES`."""
    retry_after: int | None
    """The seconds of a `Retry-After`."""


async def ask(session: aiohttp.ClientSession, url: URL, max_bytes: int, came: Came | None) -> tuple[int, bytes]:
    """The status, and with it the body of a 200, or where a redirect leads. Raises ValueError for too much."""
    async with session.get(url, allow_redirects=False, timeout=SLOW_LINE if came else session.timeout) as response:
        if response.status in REDIRECT_STATUSES:
            return response.status, response.headers.get("Location", "").encode()
        return response.status, await _read(response, max_bytes, came) if response.status == 200 else b""


async def send(
    session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str]
) -> tuple[int, int | None]:
    """The status, and the seconds of a `Retry-After`; one that names a date is read as none."""
    async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
        return response.status, _retry_after(response)


async def call(
    session: aiohttp.ClientSession, method: str, url: URL, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, tuple[bytes | None, int | None]]:
    """The status, the body if it is not too large, and the seconds of a `Retry-After`."""
    async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
        try:
            said = await _read(response, MAX_ANSWER_BYTES, None)
        except NotAllowed:
            said = None
        return response.status, (said, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    wait = response.headers.get("Retry-After", "")
    return int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None


async def _read(response: aiohttp.ClientResponse, max_bytes: int, came: Came | None) -> bytes:
    """The body, `max_bytes` at most, both as it comes and decoded. Some hosts send gzip whatever is asked for."""
    encoding = ",".join(response.headers.getall("Content-Encoding", ["identity"])).lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise NotAllowed("is encoded")
    unzip = None if encoding == "identity" else zlib.decompressobj(_GZIP)
    body, sent = bytearray(), 0
    async for chunk in response.content.iter_any():
        sent += len(chunk)
        body += _unzip(unzip, chunk, max_bytes + 1 - len(body)) if unzip else chunk
        if max(sent, len(body)) > max_bytes:
            raise NotAllowed("is too large")
        if came:
            came(sent)
    if unzip and (not unzip.eof or unzip.unused_data):
        raise NotAllowed("is not one gzip file")
    return bytes(body)


def _unzip(unzip: "zlib._Decompress", chunk: bytes, most: int) -> bytes:
    """No more than `most` bytes; the rest is dropped, because then there is too much."""
    try:
        return unzip.decompress(chunk, most)
    except zlib.error:
        raise NotAllowed("is not a gzip file") from None
