"""A layer of AES over stored hashes and sealed addresses. `layer.py` loads this module when it is needed."""

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from inbox_server.identity.keyed_hash import HASH_BYTES

_NONCE_BYTES: Final = 12  # of a sealed address, at its beginning: random, and new for each
_FIRST_BLOCK: Final = bytes(4)


class AesLayer:
    """Implements `layer.Layer`. For one thread at a time.

    A hash is one block, and different from all others, so that AES alone (ECB of one block) is a permutation of hashes
    that nobody can follow without the key. Sealed addresses carry a nonce, which serves counter mode as well, and their
    own authentication, inside.
    """

    def __init__(self, secret: bytes) -> None:
        hashes = Cipher(AES(hmac.digest(secret, b"layer\0hash", "sha256")), ECB())  # noqa: S305 — one block, see above
        self._sealed = AES(hmac.digest(secret, b"layer\0sealed", "sha256"))
        self._encrypt, self._decrypt = hashes.encryptor().update, hashes.decryptor().update

    def __repr__(self) -> str:
        return "AesLayer(<secret>)"

    def hide(self, hash: bytes) -> bytes:
        return self._encrypt(_checked(hash))

    def show(self, stored: bytes) -> bytes:
        return self._decrypt(_checked(stored))

    def hide_sealed(self, sealed: bytes) -> bytes:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return nonce + Cipher(self._sealed, CTR(nonce + _FIRST_BLOCK)).encryptor().update(rest)

    def show_sealed(self, stored: bytes) -> bytes:
        return self.hide_sealed(stored)  # counter mode is its own inverse


def _checked(block: bytes) -> bytes:
    """Raises ValueError for what is no block: both functions would keep it for the next one."""
    if len(block) != HASH_BYTES:
        raise ValueError("a keyed hash has 16 bytes")
    return block
