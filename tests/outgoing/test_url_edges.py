"""URLs that tests/fuzz found: yarl raises ValueError for them, some of them only when a part is asked for.

It came out of the guard, and of the fetcher, in the place of a refusal: an answer 500 that any name's owner can cause.
"""

import asyncio
import contextlib

import pytest

from inbox_server.outgoing.fetch import Unreachable, open_fetcher, read_location
from inbox_server.outgoing.guard import NotAllowed, read_url
from tests.support.canary import answering

# An empty or a malformed label in punycode, and an "IPv6 address" that yarl takes and cannot write again.
NOT_URLS = ["http://xn--", "https://xn--a.b/profile.json", "http://[::|]", "https://[::|1]:443/"]
NOT_LOCATIONS = ["//[", "//]", "//a:b", "//a:99999", "http://a]/", "http:///", "//[%:1]", "//xn--/", "http://[::|]"]


@pytest.mark.parametrize("text", NOT_URLS)
def test_a_url_that_cannot_be_taken_apart_is_refused(text: str) -> None:
    with pytest.raises(NotAllowed):
        read_url(text)


@pytest.mark.parametrize("text", NOT_URLS)
async def test_a_url_that_cannot_be_taken_apart_is_unreachable(text: str) -> None:
    async with open_fetcher(allow=frozenset()) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(text, max_bytes=10)


@pytest.mark.parametrize("text", NOT_LOCATIONS)
def test_a_location_is_read_or_refused_and_so_is_where_it_leads(text: str) -> None:
    with contextlib.suppress(NotAllowed):
        read_location(read_url("https://hub.example/hub/"), text)


@pytest.mark.parametrize("text", NOT_LOCATIONS)
async def test_a_redirect_to_what_cannot_be_taken_apart_is_unreachable(text: str) -> None:
    async def redirect(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {text}\r\nContent-Length: 0\r\n\r\n".encode())

    async with answering(redirect) as port, open_fetcher(allow=frozenset()) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(f"http://127.0.0.1:{port}/", max_bytes=10, redirects=1, configured=True)
