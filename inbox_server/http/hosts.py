"""What we need to know about a client: which host it asked for, and which network it is in."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from inbox_server.config.config import Config, Tcp

_IPV6_PREFIX_BITS: Final = 64  # what one customer gets
_HERE: Final = frozenset(
    {"127.0.0.1", "::1"}
)  # where proxies connect from; others in 127.0.0.0/8 are read as addresses


def hosts_of(config: Config) -> Callable[[str], bool]:
    """Whether a Host header is ours. A web page can point its own name at our address, but not our name."""
    public = urlsplit(config.public_url)
    known = {public.netloc, *config.hosts}
    if public.port is None:
        known.add(f"{public.netloc}:{443 if public.scheme == 'https' else 80}")
    if isinstance(config.listen, Tcp) and config.listen.port:
        literal = f"[{config.listen.host}]" if ":" in config.listen.host else config.listen.host
        known.add(f"{literal}:{config.listen.port}")
    return lambda host: host.lower() in known


def is_numeric_host(host: str) -> bool:
    """Whether a Host header is a numeric address or localhost, which no web page can point elsewhere."""
    name = host_name(host)
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True


def host_name(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition(":")[0] if not host.endswith("]") and host.rpartition(":")[2].isdecimal() else host


def network_of(remote: str | None, headers: Mapping[str, str], config: Config) -> bytes | None:
    """The network that a request came from: an IPv4 address or an IPv6 /64. None when we cannot tell.

    Proxies connect from this machine. Only the one header that the operator named is trusted, and only from here.
    """
    peer = None if remote in _HERE else _address(remote)
    if peer is not None and not peer.is_loopback:
        return _prefix(peer)
    told = _address(headers.get(config.proxy_header)) if config.proxy_header else None
    return None if told is None else _prefix(told)


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text) if text else None
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _prefix(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    if isinstance(address, ipaddress.IPv6Address):
        return address.packed[: _IPV6_PREFIX_BITS // 8]
    return address.packed
