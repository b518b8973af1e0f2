"""Layers: what a rotation of the secret puts over the keyed hashes that are stored.

Keyed hashes are one-way, so nobody can make them again under a new secret. But a hash has 16 bytes, as a block of AES
has, and each secret after the first one encrypts them as such: a stored hash is AES of the hash under the first secret.
Whoever has only the first one matches nothing. A further rotation takes the old layer off and puts the new one on, so
there are never more than two secrets to a hash (docs/decisions/0016-rotating-the-secret.md).
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final, Protocol

Layers = Sequence["Layer"]
"""One for each secret, the newest first. The last is `NO_LAYER`: what is stored under the first secret."""


class Layer(Protocol):
    def hide(self, hash: bytes) -> bytes:
        """What is stored in place of a keyed hash of 16 bytes."""

    def show(self, stored: bytes) -> bytes:
        """The keyed hash again."""

    def hide_sealed(self, sealed: bytes) -> bytes:
        """What is stored in place of a sealed address (`notify/sealing.py`); of the same size."""

    def show_sealed(self, stored: bytes) -> bytes:
        """The sealed address again."""


class _NoLayer:
    def hide(self, hash: bytes) -> bytes:
        return hash

    show = hide_sealed = show_sealed = hide


NO_LAYER: Final[Layer] = _NoLayer()
ONLY_ONE: Final[Layers] = (NO_LAYER,)
"""Those of a secret that was never rotated."""


def layers_of(later: Iterable[bytes]) -> Layers:
    """The layers of the secrets after the first one, the newest first.

    The library that encrypts takes 8 MB and a tenth of a second: it is loaded if there is such a secret.
    """
    return (*(import_module("inbox_server.identity.aes_layer").AesLayer(secret) for secret in later), NO_LAYER)
