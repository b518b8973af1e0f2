"""Who a token names: a BNS name, an app public key, or (recipients only) an app address."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from inbox_server.identity.addresses import is_app_address
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key

# Labels as BNS version 1 and 2 allow them; two labels are a name, three a subdomain. A key or an address has no dot.
_NAME: Final = re.compile(r"[a-z0-9_+-]{1,48}(\.[a-z0-9_+-]{1,48}){1,2}")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_MAX_ORIGIN_CHARACTERS: Final = 260  # a host name has at most 253 characters


class NotAnIdentity(ValueError):
    """The text is not an identity. The message says why, and does not quote the text."""


@dataclass(frozen=True, slots=True)
class Name:
    """A BNS name such as `alice.id` or `alice.id.blockstack`, lower-case."""

    text: str


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket address, base58check version 0."""

    text: str


def parse_sender(text: str) -> Name | PublicKey:
    """Raises `NotAnIdentity`."""
    if "." in text:
        return parse_name(text)
    try:
        return parse_key(text)
    except NotAKey:
        raise NotAnIdentity("is neither a name nor an app public key of 66 lower-case hex characters") from None


@lru_cache(maxsize=4096)  # reading an address costs as much as reading all of a token
def parse_recipient(text: str) -> Name | PublicKey | Address:
    """Raises `NotAnIdentity`."""
    if is_app_address(text):
        return Address(text)
    try:
        return parse_sender(text)
    except NotAnIdentity:
        raise NotAnIdentity("is neither a name, nor an app public key, nor an app address") from None


def parse_name(text: str) -> Name:
    """Raises `NotAnIdentity`."""
    if not _NAME.fullmatch(text):
        raise NotAnIdentity("is not a name of two or three lower-case labels")
    return Name(text)


@lru_cache(maxsize=256)
def is_origin(text: str) -> bool:
    """Whether this is a web origin as browsers write it: scheme, host, port if unusual, no slash at the end."""
    match = _ORIGIN.fullmatch(text) if len(text) <= _MAX_ORIGIN_CHARACTERS else None
    if match is None:
        return False
    port = int(match["port"] or 0)
    return port <= 65535 and port != _USUAL_PORTS[match["scheme"]]
