"""Addresses behind a NAT64 (RFC 6052): judged by the IPv4 address inside, where the operator names the prefix."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.outgoing.dialling import MayDial, guarded_connector
from inbox_server.outgoing.fetch import Unreachable, open_fetcher
from inbox_server.outgoing.guard import NAT64_LENGTHS, guard_with, ipv4_inside, is_public, read_nat64_prefix
from tests.outgoing.test_guard import INTERNAL_ADDRESSES, PUBLIC_ADDRESSES
from tests.outgoing.test_ssrf import place, try_twice
from tests.support.canary import Coast, LyingResolver, running_coast

WELL_KNOWN = read_nat64_prefix("64:ff9b::/96")
# The table of RFC 6052, section 2.4: 192.0.2.33 under each length.
OF_THE_RFC = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
    "64:ff9b::/96": "64:ff9b::192.0.2.33",
}
PREFIXES = tuple(read_nat64_prefix(text) for text in OF_THE_RFC)
IPV4 = [address for address in (*PUBLIC_ADDRESSES, *INTERNAL_ADDRESSES) if ":" not in address]
IPV6 = [address for address in (*PUBLIC_ADDRESSES, *INTERNAL_ADDRESSES) if ":" in address]


def under(prefix: ipaddress.IPv6Network, inside: str, *, zero: int = 0, suffix: int = 0) -> str:
    """The address of `inside` under the prefix, put together bit by bit as the RFC draws it."""
    bits = f"{int(prefix.network_address):0128b}"[: prefix.prefixlen] + f"{int(ipaddress.IPv4Address(inside)):032b}"
    if prefix.prefixlen < 96:
        bits = f"{bits[:64]}{zero:08b}{bits[64:]}"
    return str(ipaddress.IPv6Address(int(bits + f"{suffix:0128b}"[len(bits) :], 2)))


@pytest.mark.parametrize(("prefix", "address"), OF_THE_RFC.items())
def test_the_examples_of_the_rfc_are_read(prefix: str, address: str) -> None:
    network, parsed = ipaddress.IPv6Network(prefix), ipaddress.IPv6Address(address)
    assert ipv4_inside(parsed, network) == ipaddress.IPv4Address("192.0.2.33")
    assert ipaddress.IPv6Address(under(network, "192.0.2.33")) == parsed


@pytest.mark.parametrize("prefix", PREFIXES, ids=str)
@pytest.mark.parametrize("inside", IPV4)
def test_an_address_in_the_prefix_is_public_exactly_when_the_one_inside_is(
    prefix: ipaddress.IPv6Network, inside: str
) -> None:
    assert is_public(under(prefix, inside), (prefix,)) == (inside in PUBLIC_ADDRESSES)


@pytest.mark.parametrize("prefix", [each for each in PREFIXES if each.prefixlen < 96], ids=str)
def test_an_address_whose_octet_of_zeros_is_not_zero_is_refused(prefix: ipaddress.IPv6Network) -> None:
    assert is_public(under(prefix, "8.8.8.8"), (prefix,))
    assert not any(is_public(under(prefix, "8.8.8.8", zero=zero), (prefix,)) for zero in (1, 8, 128, 255))


@given(st.sampled_from(PREFIXES), st.ip_addresses(v=4), st.integers(0, 2**24 - 1))
def test_bits_after_the_address_change_nothing(prefix: ipaddress.IPv6Network, inside: object, suffix: int) -> None:
    assert is_public(under(prefix, str(inside), suffix=suffix), (prefix,)) == is_public(str(inside))


@pytest.mark.parametrize("address", IPV6)
def test_an_address_under_no_prefix_is_judged_as_without_one(address: str) -> None:
    expected = address == "64:ff9b::808:808" or address in PUBLIC_ADDRESSES
    assert is_public(address, (WELL_KNOWN,)) == expected


@pytest.mark.parametrize("address", ["64:ff9a:ffff::808:808", "64:ff9b::1:808:808", "64:ff9b:1::808:808"])
def test_an_address_beside_the_prefix_is_refused(address: str) -> None:
    assert not is_public(address, (WELL_KNOWN,))


def test_where_two_prefixes_hold_an_address_both_must_allow_it() -> None:
    both = read_nat64_prefix("2001:db8::/32"), read_nat64_prefix("2001:db8:808:808::/96")
    for order in (both, both[::-1]):
        assert is_public("2001:db8:808:808::8.8.8.8", order)
        assert not is_public("2001:db8:808:808::10.0.0.1", order)


def test_a_scope_and_another_port_are_refused_under_a_prefix_too() -> None:
    may_dial = guard_with((WELL_KNOWN,))
    assert may_dial("64:ff9b::808:808", 443)
    assert not may_dial("64:ff9b::808:808%2", 443)
    assert not may_dial("64:ff9b::808:808", 80)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("64:ff9b::/95", "lengths"),
        ("64:ff9b::/33", "lengths"),
        ("64:ff9b::/128", "lengths"),
        ("64:ff9b::", "lengths"),
        ("64:ff9b::1/96", "no bits after it"),
        ("2001:db8::1/32", "no bits after it"),
        ("64:ff9b::/ffff::", "IPv6 prefix"),
        ("10.0.0.0/8", "IPv6 prefix"),
        ("64:ff9b::%1/96", "IPv6 prefix"),
        ("nonsense", "IPv6 prefix"),
        ("", "IPv6 prefix"),
        ("2001:db8:0:0:100::/96", "bits 64 to 71"),
    ],
)
def test_what_is_no_nat64_prefix_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_nat64_prefix(text)


def test_the_lengths_are_those_of_the_rfc() -> None:
    assert {prefix.prefixlen for prefix in PREFIXES} == set(NAT64_LENGTHS)


async def dialled(monkeypatch: pytest.MonkeyPatch, address: str, *prefixes: ipaddress.IPv6Network) -> list[Any]:
    """What the fetcher would connect to for a name that a DNS64 leads to `address`; nothing leaves this machine."""
    found = [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443, 0, 0))]
    connected: list[Any] = []

    async def connect(_: socket.socket, target: Any) -> None:
        connected.append(target[:2])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    async with open_fetcher(allow=frozenset(), guard=guard_with(prefixes)) as fetcher:
        with pytest.raises(Unreachable):
            await fetcher.post("https://public.example/", b"", {})
    return connected


async def test_the_fetcher_dials_a_nat64_address_only_where_its_prefix_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await dialled(monkeypatch, "64:ff9b::808:808", WELL_KNOWN) == [("64:ff9b::808:808", 443)]
    assert await dialled(monkeypatch, "64:ff9b::808:808") == []
    for inside in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "224.0.0.1", "0.0.0.0"):
        assert await dialled(monkeypatch, under(WELL_KNOWN, inside), WELL_KNOWN) == []


# Linux is a translator for one prefix: it leads ::ffff:127.0.0.2 to 127.0.0.2.
MAPPED = read_nat64_prefix("::ffff:0:0/96")


@pytest.fixture
async def coast() -> AsyncIterator[Coast]:
    async with running_coast() as coast:
        yield coast


@pytest.mark.parametrize(
    ("guard", "hits"),
    [
        (lambda address, _: ipaddress.ip_address(address) in MAPPED, 2),  # the negative control
        (lambda address, _: is_public(address, (MAPPED,)), 0),
    ],
    ids=["the whole prefix allowed", "what is inside judged"],
)
async def test_at_the_socket_an_internal_address_inside_is_not_reached(coast: Coast, guard: MayDial, hits: int) -> None:
    zone = {"dns64.example": [["::ffff:127.0.0.2"]]}
    await try_twice(guarded_connector(guard, LyingResolver(zone, coast.port)), place("dns64.example", coast))
    assert coast.hits == ["127.0.0.2"] * hits
