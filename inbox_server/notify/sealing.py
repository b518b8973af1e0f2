"""Owners' addresses at rest: encrypted, all of a channel's of one size, and bound to their inbox.

An address leads to somebody's browser or room. A stolen database must not reveal it, or whose server it is at.
"""

from collections.abc import Callable
from typing import Final

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.notify.channel import Address, Kind
from inbox_server.notify.on_demand import loaded

_NONCE_BYTES: Final = 12
_DAY_BYTES: Final = 4


class NotOurs(Exception):
    """The bytes were not sealed under this secret for this inbox and channel."""


class Sealer:
    """AES-256-GCM under a key of the channel's own; `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(self, key: bytes, kind: Kind, random_bytes: Callable[[int], bytes]) -> None:
        self._key = key
        self._keys_bytes = kind.keys_bytes
        self._where_characters = kind.where_characters
        self._random_bytes = random_bytes

    def seal(self, address: Address, inbox: bytes) -> bytes:
        where = address.where.encode("ascii").ljust(self._where_characters, b"\0")
        nonce = self._random_bytes(_NONCE_BYTES)
        day = (address.since // DAY_SECONDS).to_bytes(_DAY_BYTES, "big")
        sealed: bytes = loaded().seal(self._key, nonce, address.keys + where + day, inbox)
        return nonce + sealed

    def open(self, sealed: bytes, inbox: bytes) -> Address:
        """Raises `NotOurs`."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        plain: bytes | None = loaded().unseal(self._key, nonce, rest, inbox)
        if plain is None:
            raise NotOurs
        keys, rest = plain[: self._keys_bytes], plain[self._keys_bytes :]
        where, day = rest[: self._where_characters], int.from_bytes(rest[self._where_characters :], "big")
        return Address(where.rstrip(b"\0").decode("ascii"), keys, UnixTime(day * DAY_SECONDS))
