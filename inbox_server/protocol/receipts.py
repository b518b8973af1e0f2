"""Receipts: one signature over the root of a tree of hashes, whose leaves are the deliveries of one commit.

docs/protocol.md, "Receipts and the log". A receipt shows its own leaf's salt and path, and nothing of the other leaves.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import encode

RECEIPT_TYPE: Final = "inbox-receipt+jwt"
SALT_BYTES: Final = 16
LEVELS: Final = 9
MOST_LEAVES: Final = 1 << LEVELS
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Receipt:
    """`token` signs the root to which `path`, nine hashes, leads from the leaf with this `salt`."""

    token: str
    salt: bytes
    path: Sequence[bytes]

    def json(self) -> bytes:
        """As it is answered."""
        path = '","'.join([encode(node) for node in self.path])
        return f'{{"token":"{self.token}","salt":"{encode(self.salt)}","path":["{path}"]}}'.encode()


def leaf_of(salt: bytes, address: str, id: bytes, expires: UnixTime) -> bytes:
    """The leaf of a delivery to the app `address`. `salt` has 16 bytes and `id` 32."""
    return hashlib.sha256(
        b"\x00message-inbox-receipt" + salt + address.encode("ascii") + b"\x00" + id + expires.to_bytes(8, "big")
    ).digest()


def node_of(one: bytes, other: bytes) -> bytes:
    """The node above two others. Their order does not matter, so a path needs no positions."""
    return hashlib.sha256(b"\x01" + (one + other if one < other else other + one)).digest()


def root_of(leaf: bytes, path: Iterable[bytes]) -> bytes:
    """The root that a leaf and its path lead to."""
    node = leaf
    for sibling in path:
        node = node_of(node, sibling)
    return node


def grow_tree(leaves: Sequence[bytes], random_bytes: Callable[[int], bytes]) -> tuple[bytes, list[list[bytes]]]:
    """The root over 1 to 512 leaves, and the path of each. Every path has nine levels, however few leaves there are."""
    if not 1 <= len(leaves) <= MOST_LEAVES:
        raise ValueError(f"a tree has 1 to {MOST_LEAVES} leaves")
    paths: list[list[bytes]] = [[] for _ in leaves]
    level = list(leaves)
    for height in range(LEVELS):
        if len(level) % 2:
            level.append(random_bytes(_HASH_BYTES))
        for number, path in enumerate(paths):
            path.append(level[(number >> height) ^ 1])
        level = [node_of(level[left], level[left + 1]) for left in range(0, len(level), 2)]
    return level[0], paths
