"""secp256k1 public keys, and ECDSA signatures in the JOSE form (RFC 8812: 64 bytes, r then s).

A signature may have a high S: jsontokens makes about half of its tokens so, and libsecp256k1 refuses them unless S is
normalised first. Signatures are therefore malleable, and nothing here or above uses one as an identity.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Self

import coincurve
from coincurve.ecdsa import cdata_to_der, der_to_cdata, deserialize_compact, signature_normalize

from inbox_server.identity.addresses import app_address

_GROUP_ORDER: Final = bytes.fromhex("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141")
_ZERO: Final = bytes(32)
_ORDER: Final = int.from_bytes(_GROUP_ORDER, "big")
_COMPACT_BYTES: Final = 64
SEED_BYTES: Final = 64  # twice the size of the order, so that the reduction is unbiased
_COMPRESSED_HEX: Final = re.compile(r"0[23][0-9a-f]{64}")


class NotAKey(ValueError):
    """The text is not a public key. The message says why, and does not quote the text."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A point on the curve. Two are equal when their compressed forms are."""

    hex: str
    address: str
    """The bucket address of this key, base58check."""
    _point: coincurve.PublicKey = field(repr=False, compare=False)

    @property
    def uncompressed(self) -> bytes:
        """The point in 65 bytes, as old wallets hash it."""
        return self._point.format(compressed=False)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature`, 64 bytes, is this key's over SHA-256 of `message`; a high S is accepted too."""
        if len(signature) != 64:
            return False
        # Bytes of one length compare like the numbers that they are, from the most significant on.
        if not (_ZERO < signature[:32] < _GROUP_ORDER and _ZERO < signature[32:] < _GROUP_ORDER):
            return False
        return self._verify(deserialize_compact(signature), message)

    def signed_der(self, message: bytes, signature: bytes) -> bool:
        """The same for a DER signature, as files in buckets have them; tokens never do."""
        try:
            return self._verify(der_to_cdata(signature), message)
        except ValueError:
            return False

    def _verify(self, signature: Any, message: bytes) -> bool:
        _, low_s = signature_normalize(signature)
        return bool(self._point.verify(cdata_to_der(low_s), message))


class SigningKey:
    """A private key that signs as tokens are signed. `secret` has 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self.private = coincurve.PrivateKey(secret)
        self.public = key_from_bytes(self.private.public_key.format(compressed=True))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex!r})"

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key that is derived from 64 random bytes."""
        return cls((int.from_bytes(seed, "big") % (_ORDER - 1) + 1).to_bytes(32, "big"))

    def sign(self, message: bytes) -> bytes:
        """A signature over SHA-256 of the message: 64 bytes, r then s, always with a low S."""
        # The recovery number is cut off, because tokens have none. Measured: 27 µs, where OpenSSL takes 875.
        return self.private.sign_recoverable(message)[:_COMPACT_BYTES]


@lru_cache(maxsize=4096)  # parsing and hashing cost as much as a third of a verification
def parse_key(text: str) -> PublicKey:
    """A key from 66 lower-case hex characters, the only form that tokens may use. Raises `NotAKey`."""
    if not _COMPRESSED_HEX.fullmatch(text):
        raise NotAKey("is not 66 lower-case hex characters that start with 02 or 03")
    return key_from_bytes(bytes.fromhex(text))


def key_from_bytes(raw: bytes) -> PublicKey:
    """A key from 33 compressed or 65 uncompressed bytes. Raises `NotAKey`."""
    if raw[:1] not in (b"\x02", b"\x03", b"\x04"):  # libsecp256k1 also takes a hybrid form that nobody writes
        raise NotAKey("is not a point on the curve")
    try:
        point = coincurve.PublicKey(raw)
    except ValueError:
        raise NotAKey("is not a point on the curve") from None
    compressed = point.format(compressed=True)
    return PublicKey(compressed.hex(), app_address(compressed), point)
