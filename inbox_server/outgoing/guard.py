"""Which URLs and addresses strangers' zone files and profiles may lead the server to.

Python's `ipaddress.is_global` is not a guard: it calls IPv4 loopback inside IPv6 (mapped, NAT64, 6to4), multicast and
others global, differently in each version. So IPv4 has a list of what is refused, and IPv6 a list of what is allowed.
Source: the IANA special-purpose address registries (RFC 6890 and its updates).
"""

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from yarl import URL

MAX_URL_CHARACTERS: Final = 2048
HTTPS_PORT: Final = 443  # profiles and buckets are on the web; other ports are other people's services
_NO_HOSTS: Final = (
    ".localhost",
    ".local",
    ".internal",
    ".lan",
    ".home",
    ".corp",
    ".onion",
    ".arpa",
    ".test",
    ".invalid",
)
# Checked before yarl, which accepts `[v1.a]`, `[::|]` and port `44_3`, and rewrites them.
_WEB_URL: Final = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?P<target>[/?][^#]*)?(?:#.*)?", re.IGNORECASE
)
# Two labels or more. The last is not a number in any notation, or the host would be an address.
_PUBLIC_NAME: Final = re.compile(r"(?:[a-z0-9_-]+\.)+(?!0x[0-9a-f]*$)[a-z0-9-]*[a-z][a-z0-9-]*")
_VISIBLE: Final = re.compile(r"[!-\[\]-~]+")  # no space, no control, no backslash, ASCII only

_REFUSED_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local: cloud metadata services live here
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_ALLOWED_IPV6: Final = ipaddress.IPv6Network("2000::/3")  # the allocated range, without mapped, NAT64 and private
_REFUSED_IPV6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: IPv4 of any kind inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


NAT64_LENGTHS: Final = (32, 40, 48, 56, 64, 96)  # RFC 6052 section 2.2
_NAT64_ZERO_OCTET: Final = 8  # bits 64 to 71 of such an address; the IPv4 address is written around it

Nat64 = tuple[ipaddress.IPv6Network, ...]
"""Prefixes under which a translator in the operator's network reaches IPv4."""


class NotAllowed(ValueError):
    """The guard refuses a URL. The message says why, and does not quote the URL."""


def is_public(address: str, nat64: Nat64 = ()) -> bool:
    """Whether a numeric IP address, as getaddrinfo gives it, is one on the public Internet.

    One in a prefix of `nat64` is judged by the IPv4 address inside, which is where the translator sends it.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _REFUSED_IPV4)
    if parsed.scope_id is not None:
        return False
    translated = [ipv4_inside(parsed, prefix) for prefix in nat64 if parsed in prefix]
    if translated:
        return all(inside is not None and is_public(str(inside)) for inside in translated)
    return parsed in _ALLOWED_IPV6 and not any(parsed in network for network in _REFUSED_IPV6)


def ipv4_inside(address: ipaddress.IPv6Address, prefix: ipaddress.IPv6Network) -> ipaddress.IPv4Address | None:
    """The IPv4 address in one under this NAT64 prefix; None when its octet of zeros is not zero (RFC 6052, 2.2)."""
    octets = address.packed
    if octets[_NAT64_ZERO_OCTET]:
        return None
    start = prefix.prefixlen // 8
    if start > _NAT64_ZERO_OCTET:  # a /96: the octet is in the prefix
        return ipaddress.IPv4Address(octets[start:])
    around = octets[:_NAT64_ZERO_OCTET] + octets[_NAT64_ZERO_OCTET + 1 :]
    return ipaddress.IPv4Address(around[start : start + 4])


def read_nat64_prefix(text: str) -> ipaddress.IPv6Network:
    """Raises ValueError with what is wrong with it."""
    try:
        prefix = ipaddress.IPv6Network("" if "%" in text else text)  # it accepts a scope, and drops it
    except ValueError:
        raise ValueError("must be an IPv6 prefix with its length and no bits after it, such as 64:ff9b::/96") from None
    if "/" not in text or prefix.prefixlen not in NAT64_LENGTHS:
        raise ValueError(f"must have one of the lengths of NAT64: {', '.join(f'/{each}' for each in NAT64_LENGTHS)}")
    if prefix.network_address.packed[_NAT64_ZERO_OCTET]:
        raise ValueError("must have zeros in bits 64 to 71 (RFC 6052 section 2.2)")
    return prefix


def may_dial(address: str, port: int, nat64: Nat64 = ()) -> bool:
    """The last word, at the socket: a public address, at the web's port."""
    return port == HTTPS_PORT and is_public(address, nat64)


def guard_with(nat64: Nat64) -> Callable[[str, int], bool]:
    """`may_dial` for a network with these prefixes."""
    return partial(may_dial, nat64=nat64)


def read_url(text: str) -> URL:
    """A URL that can be requested at all, no matter who named it. Raises `NotAllowed`."""
    if len(text) > MAX_URL_CHARACTERS or not _VISIBLE.fullmatch(text):  # yarl would normalise other scripts
        raise NotAllowed("is too long, or has characters that are not visible ASCII")
    if not _WEB_URL.fullmatch(text):
        raise NotAllowed("is not an http(s) URL of a host, without user information")
    try:
        url = URL(text)
        if not url.host:  # yarl decodes punycode only now
            raise NotAllowed("names no host")
    except ValueError:
        raise NotAllowed("is not a URL") from None
    return url


def read_url_to_the_byte(text: str) -> URL:
    """As `read_url`, with path and query byte for byte as written; yarl would write `%2f` as `%2F`, and `%7E` as `~`.

    The whole target is the path of this URL, because yarl drops an empty query. Raises `NotAllowed`.
    """
    url, written = read_url(text), _WEB_URL.fullmatch(text)
    target = (written and written["target"]) or "/"
    return URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=target if target.startswith("/") else "/" + target,
        fragment=url.raw_fragment,
        encoded=True,
    )


def read_stranger_url(text: str, *, allow: frozenset[str]) -> URL:
    """A URL that a stranger may name; URLs at the origins in `allow` pass unchecked. Raises `NotAllowed`."""
    url = read_url(text)
    if str(url.origin()) not in allow:
        check_stranger_url(url)
    return url


def check_stranger_url(url: URL) -> None:
    """The early refusals; what a name resolves to is checked at the resolver and at the socket. Raises `NotAllowed`."""
    host = (url.raw_host or "").lower().rstrip(".")
    if url.scheme != "https" or url.port != HTTPS_PORT or url.fragment:
        raise NotAllowed("is not an https URL at the usual port, without a fragment")
    if not _PUBLIC_NAME.fullmatch(host) or host.endswith(_NO_HOSTS):
        raise NotAllowed("has a host that is not a public name")
