"""Strangers' URLs against the guard, layer by layer. The canary counts every connection, so TLS cannot hide one."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from inbox_server.outgoing.dialling import GuardedResolver, Refusal, guarded_connector
from inbox_server.outgoing.fetch import Fetcher, Unreachable, open_fetcher
from inbox_server.outgoing.guard import is_public
from tests.support.canary import CheckingResolver, Coast, LyingResolver, has_ipv6, running_coast

MakeConnector = Callable[[Coast], aiohttp.TCPConnector]

# What names lead to: each look-up gives the next list of addresses, then the last again.
ZONE = {
    "public.example": [["127.0.0.1"]],
    "other.example": [["127.0.0.3"]],
    "internal.example": [["127.0.0.2"]],
    "six.example": [["::1"]],
    "mapped.example": [["::ffff:127.0.0.2"]],
    "mixed.example": [["127.0.0.2", "127.0.0.1"]],
    "mixed-six.example": [["::1", "127.0.0.1"]],
    "hidden.example": [["127.0.0.1"] * 15 + ["127.0.0.2"]],
    "unspecified.example": [["0.0.0.0"]],
    "scoped.example": [["fe80::1%lo"]],
    "rebinding.example": [["127.0.0.1"], ["127.0.0.2"]],
}
# Hosts, and whether one reaches the canary when nothing guards; None: without a guard it would leave this machine.
HOSTS: dict[str, bool | None] = {
    "127.0.0.2": True,
    "[::1]": True,
    "[0:0:0:0:0:0:0:1]": True,
    "[::ffff:127.0.0.2]": True,
    "[::ffff:7f00:2]": True,
    "[::1%25lo]": False,
    "[fe80::1%25lo]": None,
    "[64:ff9b::7f00:2]": None,
    "[::127.0.0.2]": None,
    "0.0.0.0": False,  # Linux leads it to 127.0.0.1, which is no less internal
    "[::]": True,
    "127.2": False,  # aiohttp refuses the short and the decimal form, and leaves the rest to the resolver
    "127.0.2": False,
    "2130706434": False,
    "0177.0.0.2": False,
    "0x7f000002": True,
    "0x7f.0.0.2": True,
    "127.0.0.0x2": True,
    "0x7f.0x0.0x0.0x2": True,
    "127.0.0.2.": False,
    "%31%32%37.0.0.2": False,
    "①②⑦.0.0.2": True,
    "１２７.0.0.2": True,
    "127。0。0。2": True,
    "public.example@127.0.0.2": True,
    "public.example%2f@127.0.0.2": True,
    "public.example%5c@127.0.0.2": True,
    "public.example\\@127.0.0.2": False,
    "127.0.0.2\\@public.example": False,
    "internal.example": True,
    "internal.example.": True,
    "INTERNAL.example": True,
    "six.example": True,
    "mapped.example": True,
    "mixed.example": True,
    "mixed-six.example": True,
    "hidden.example": False,  # the first address answers; to name it is still refused by the resolver
    "unspecified.example": False,
    "scoped.example": None,
    "rebinding.example": True,
}


@pytest.fixture
async def coast() -> AsyncIterator[Coast]:
    async with running_coast() as coast:
        yield coast


def place(host: str, coast: Coast, path: str = "/x") -> str:
    """A URL of this host at the coast's port, as a stranger writes it."""
    return f"http://{host}:{coast.port}{path}"


def unguarded(coast: Coast) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(resolver=LyingResolver(ZONE, coast.port), use_dns_cache=False, force_close=True)


def resolver_only(coast: Coast) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(resolver=CheckingResolver(ZONE, coast.port), use_dns_cache=False, force_close=True)


def socket_only(coast: Coast) -> aiohttp.TCPConnector:
    return guarded_connector(coast.is_public, LyingResolver(ZONE, coast.port))


def both(coast: Coast) -> aiohttp.TCPConnector:
    return guarded_connector(coast.is_public, CheckingResolver(ZONE, coast.port))


def session_of(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=3), trust_env=False)


async def try_twice(connector: aiohttp.TCPConnector, url: str) -> None:
    """Ask, following redirects as aiohttp does by itself, and once more for those that answer differently then."""
    async with session_of(connector) as session:
        for _ in range(2):
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
                async with session.get(url) as response:
                    await response.read()


async def hits_by_form(connector: MakeConnector, coast: Coast, *, redirected: bool, guarded: bool) -> dict[str, int]:
    """How often each form reached the canary, straight or through a redirect from a public server."""
    found = {}
    for host in HOSTS if guarded else (host for host, reaches in HOSTS.items() if reaches is not None):
        coast.hits.clear()
        coast.location = place(host, coast)
        await try_twice(connector(coast), coast.url("/to") if redirected else place(host, coast))
        found[host] = len(coast.hits)
    return found


def expected_hits() -> set[str]:
    return {host for host, reaches in HOSTS.items() if reaches and (has_ipv6() or host not in IPV6_ONLY)}


IPV6_ONLY = {"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "six.example", "mixed-six.example"}
REDIRECTED = pytest.mark.parametrize("redirected", [False, True], ids=["straight", "redirected"])


@REDIRECTED
async def test_without_a_guard_the_canary_is_reached(coast: Coast, redirected: bool) -> None:
    found = await hits_by_form(unguarded, coast, redirected=redirected, guarded=False)
    missed = expected_hits() - {host for host, hits in found.items() if hits}
    assert not missed, "forms that the canary no longer hears"


@REDIRECTED
async def test_a_guard_at_the_resolver_alone_lets_the_canary_be_reached(coast: Coast, redirected: bool) -> None:
    """The negative control. aiohttp asks no resolver about numeric hosts."""
    found = await hits_by_form(resolver_only, coast, redirected=redirected, guarded=False)
    assert found["127.0.0.2"] > 0
    assert found["[::ffff:127.0.0.2]"] > 0
    assert found["internal.example"] == found["mixed.example"] == 0


@REDIRECTED
@pytest.mark.parametrize("connector", [socket_only, both])
async def test_a_guard_at_the_socket_keeps_every_form_from_the_canary(
    coast: Coast, connector: MakeConnector, redirected: bool
) -> None:
    found = await hits_by_form(connector, coast, redirected=redirected, guarded=True)
    assert {host: hits for host, hits in found.items() if hits} == {}


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "unspecified.example", "127.0.0.4"])
async def test_not_even_a_public_server_is_reached_by_another_address(coast: Coast, host: str) -> None:
    await try_twice(socket_only(coast), place(host, coast))
    assert (coast.hits, coast.asked) == ([], [])


@pytest.mark.parametrize("host", ["public.example", "other.example", "127.0.0.1", "127.0.0.3"])
@pytest.mark.parametrize("connector", [socket_only, both])
async def test_the_guards_let_through_what_is_public(coast: Coast, connector: MakeConnector, host: str) -> None:
    await try_twice(connector(coast), place(host, coast))
    assert len(coast.asked) == 2


async def test_the_guard_is_asked_about_the_port_too(coast: Coast) -> None:
    connector = guarded_connector(
        lambda address, port: port == 443 and coast.is_public(address, port), LyingResolver(ZONE, coast.port)
    )
    await try_twice(connector, place("public.example", coast))
    assert coast.asked == []


async def test_a_name_that_moves_between_two_requests_is_followed_no_further(coast: Coast) -> None:
    resolver = LyingResolver(ZONE, coast.port)
    async with session_of(guarded_connector(coast.is_public, resolver)) as session:
        async with session.get(place("rebinding.example", coast)) as response:
            assert await response.read() == b"public"
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(place("rebinding.example", coast))
    assert resolver.asked == ["rebinding.example"] * 2  # no cache of names, no connection kept
    assert coast.hits == []


# The resolver, with the system's own getaddrinfo; these are read as numbers, so nobody is asked.


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.2",
        "127.2",
        "2130706434",
        "0x7f000002",
        "127.0.0.0x2",
        "0177.0.0.2",
        "::1",
        "::ffff:8.8.8.8",
        "fe80::1%lo",
        "0",
        "0.0.0.0",
        "::",
    ],
)
async def test_the_resolver_refuses_what_is_not_public(host: str) -> None:
    resolver = GuardedResolver(is_public)
    try:
        with pytest.raises(Refusal):
            await resolver.resolve(host, 443)
    finally:
        await resolver.close()


async def test_the_resolver_gives_what_is_public() -> None:
    resolver = GuardedResolver(is_public)
    try:
        assert [found["host"] for found in await resolver.resolve("8.8.8.8", 443)] == ["8.8.8.8"]
        assert [found["host"] for found in await resolver.resolve("2606:4700::1", 443)] == ["2606:4700::1"]
    finally:
        await resolver.close()


# The fetcher, end to end. Its trusted side starts at a public server that redirects to where it should not go.

INTERNAL_TARGETS = (
    "http://127.0.0.2:{port}/",
    "https://127.0.0.2/",
    "https://127.0.0.2:{port}/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.2]/",
    "https://[::1%25lo]/",
    "http://internal.example:{port}/",
    "https://internal.example:{port}/",
    "https://internal.example/",
    "https://internal.example./",
    "https://six.example/",
    "https://mapped.example/",
    "https://mixed.example/",
    "https://mixed-six.example/",
    "https://hidden.example/",
    "https://scoped.example/",
    "https://unspecified.example/",
    "https://127.0.0.0x2/",
    "https://0x7f.0.0.0x2/",
    "https://127.2/",
    "https://2130706434/",
    "https://0x7f000002/",
    "https://%31%32%37.0.0.2/",
    "https://public.example@127.0.0.2/",
    "https://public.example%2f@127.0.0.2/",
    "//127.0.0.2:{port}/",
    "//internal.example:{port}/",
    "ftp://127.0.0.2/",
    "file:///etc/passwd",
    "gopher://127.0.0.2:{port}/",
)
ODD_TARGETS = (
    "",
    " ",
    "http://",
    "https://",
    "//",
    "http://[",
    "//[",
    "//]",
    "http://[::1",
    "http://[::1]x/",
    "http://a:99999/",
    "//a:99999/",
    "http://a:b/",
    "http://a:-1/",
    "https://xn--a.example/",
    "https://xn--.example/",
    "//xn--a.example/",
    "https://a b.example/",
    "https://a.example\\@127.0.0.2/",
    "\\\\127.0.0.2\\",
    "https://ü.example/",
    "https://①②⑦.0.0.2/",
    "https:/127.0.0.2/",
    "javascript:alert(1)",
    "data:,x",
    "x:y:z",
    "http://%",
    "http://%zz.example/",
    "https://" + "a" * 3000 + ".example/",
    "https://a.example/" + "x" * 3000,
    "https://" + "a." * 200 + "example/",
    "https://" + "a" * 64 + ".example/",
)


# What names no host at all is relative to where it was said.
HOSTLESS_TARGETS = ("///", ":", "http:127.0.0.2", "http:///127.0.0.2/", "/\t127.0.0.2", "?@127.0.0.2", "#@127.0.0.2/")


@contextlib.asynccontextmanager
async def fetcher_of(coast: Coast, resolver: AbstractResolver) -> AsyncIterator[Fetcher]:
    """A fetcher as `open_fetcher` makes it, but for names, which lead where the zone says. 127.0.0.1 is allowed."""
    async with (
        session_of(guarded_connector(coast.is_public, resolver)) as guarded,
        session_of(aiohttp.TCPConnector()) as trusted,
    ):
        yield Fetcher(guarded=guarded, trusted=trusted, allow=frozenset({coast.url()}))


CONFIGURED = pytest.mark.parametrize("configured", [True, False], ids=["from a name service", "from an allowed origin"])


@CONFIGURED
@pytest.mark.parametrize("target", INTERNAL_TARGETS)
@pytest.mark.parametrize("resolver", [LyingResolver, CheckingResolver])
async def test_a_redirect_leads_to_nothing_internal(
    coast: Coast, target: str, configured: bool, resolver: type[LyingResolver]
) -> None:
    coast.location = target.format(port=coast.port)
    async with fetcher_of(coast, resolver(ZONE, coast.port)) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=2, configured=configured)
    assert coast.hits == []
    assert len(coast.asked) <= 2


async def test_the_same_redirects_reach_the_canary_without_the_socket_check(coast: Coast) -> None:
    """The negative control of the one above: some pass as text, and then only the socket stands before them."""
    passed = []
    for target in INTERNAL_TARGETS:
        if "scoped" in target:  # it would leave this machine
            continue
        coast.hits.clear()
        coast.location = target.format(port=coast.port)
        async with session_of(unguarded(coast)) as guarded, session_of(aiohttp.TCPConnector()) as trusted:
            fetcher = Fetcher(guarded=guarded, trusted=trusted, allow=frozenset({coast.url()}))
            with contextlib.suppress(Unreachable):
                await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=2)
        if coast.hits:
            passed.append(target)
    assert "https://internal.example/" in passed
    assert "https://mapped.example/" in passed
    assert "https://127.0.0.2/" not in passed  # the text was refused already


@CONFIGURED
@pytest.mark.parametrize("target", ODD_TARGETS)
async def test_an_odd_location_is_a_failure_like_any_other(coast: Coast, target: str, configured: bool) -> None:
    coast.location = target
    async with fetcher_of(coast, LyingResolver(ZONE, coast.port)) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=1, configured=configured)
    assert coast.hits == []


@pytest.mark.parametrize("target", HOSTLESS_TARGETS)
async def test_a_location_without_a_host_leads_nowhere_else(coast: Coast, target: str) -> None:
    coast.location = target
    async with fetcher_of(coast, LyingResolver(ZONE, coast.port)) as fetcher:
        with contextlib.suppress(Unreachable):
            await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=1)
    assert coast.hits == []


async def test_a_stranger_cannot_name_an_internal_url_in_the_first_place(coast: Coast) -> None:
    async with fetcher_of(coast, LyingResolver(ZONE, coast.port)) as fetcher:
        for target in INTERNAL_TARGETS:
            with pytest.raises(Unreachable):
                await fetcher.get(target.format(port=coast.port), max_bytes=1000)
    assert (coast.hits, coast.asked) == ([], [])


async def test_an_operators_own_url_is_trusted_as_written(coast: Coast) -> None:
    async with open_fetcher(allow=frozenset()) as fetcher:
        assert await fetcher.get(coast.url("/x"), max_bytes=1000, configured=True) == b"public"


@pytest.mark.parametrize("host", ["127.0.0.3", "localhost", "127.0.0.2"])
async def test_an_allowed_origin_is_exactly_that_origin(coast: Coast, host: str) -> None:
    async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
        assert await fetcher.get(coast.url("/x"), max_bytes=1000) == b"public"
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/x", host), max_bytes=1000)
        with pytest.raises(Unreachable):
            await fetcher.get(f"https://127.0.0.1:{coast.port}/x", max_bytes=1000)
    assert (len(coast.asked), coast.hits) == (1, [])


async def test_nothing_is_allowed_unless_an_origin_is_named(coast: Coast) -> None:
    async with open_fetcher(allow=frozenset()) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/x"), max_bytes=1000)
    assert coast.asked == []


@pytest.mark.parametrize("target", ["https://127.0.0.0x2/", "https://0x7f.0.0.0x2/", "https://127.0x2/"])
async def test_the_fetcher_as_opened_dials_nothing_internal(coast: Coast, target: str) -> None:
    """These are names to the URL's check and numbers to getaddrinfo, so no name server is asked."""
    asked: list[tuple[str, int]] = []

    def guard(address: str, port: int) -> bool:
        asked.append((address, port))
        return coast.is_public(address, port)

    coast.location = target
    async with open_fetcher(allow=frozenset({coast.url()}), guard=guard) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=1)
    assert coast.hits == []
    assert all(address == "127.0.0.2" for address, _ in asked)


@pytest.mark.parametrize(("redirects", "asked"), [(0, 1), (1, 2), (2, 3)])
async def test_a_loop_of_redirects_ends_when_they_are_used_up(coast: Coast, redirects: int, asked: int) -> None:
    async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/loop"), max_bytes=1000, redirects=redirects)
    assert len(coast.asked) == asked


@pytest.mark.parametrize(
    "location", ["/x", "x", "./x", "../x", "?q", "//127.0.0.1:{port}/x", "http://127.0.0.1:{port}"]
)
async def test_a_relative_redirect_stays_with_its_origin(coast: Coast, location: str) -> None:
    coast.location = location.format(port=coast.port)
    path = "/to" if location != "?q" else "/a/to"
    async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
        if location == "?q":  # it leads to itself, and that is a loop
            with pytest.raises(Unreachable):
                await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=2)
        else:
            assert await fetcher.get(coast.url(path), max_bytes=1000, redirects=1) == b"public"


async def test_a_redirect_between_two_allowed_origins_is_followed(coast: Coast) -> None:
    coast.location = coast.url("/x", "127.0.0.3")
    async with open_fetcher(allow=frozenset({coast.url(), coast.url(host="127.0.0.3")})) as fetcher:
        assert await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=1) == b"public"


async def test_a_redirect_from_an_allowed_origin_to_another_is_not_followed(coast: Coast) -> None:
    coast.location = coast.url("/x", "127.0.0.3")
    async with open_fetcher(allow=frozenset({coast.url()})) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.get(coast.url("/to"), max_bytes=1000, redirects=2)
    assert len(coast.asked) == 1


async def test_the_coast_tells_public_from_internal(coast: Coast) -> None:
    """The canary itself: a plain connection is counted, and one to a public server is not."""
    reader, writer = await asyncio.open_connection("127.0.0.2", coast.port)
    writer.close()
    _, other = await asyncio.open_connection("127.0.0.1", coast.port, family=socket.AF_INET)
    other.close()
    await reader.read()
    assert coast.hits == ["127.0.0.2"]
