"""Addresses of keys: base58check (Bitcoin, Gaia buckets) and c32check (Stacks owners).

Both write the same 20 bytes, the hash160 of a public key, with a version and a checksum. A bucket's address is
base58check with version 0 over the hash of the *compressed* app key. Source: Bitcoin's base58, Stacks SIP-005.
"""

import hashlib
from typing import Final

from Crypto.Hash import RIPEMD160

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_C32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_C32_LOOK_ALIKES: Final = str.maketrans("OLI", "011")

_P2PKH_MAINNET: Final = 0
# c32 version -> the base58 version that means the same
_C32_TO_BASE58: Final = {22: 0, 20: 5, 26: 111, 21: 196}
_SINGLE_KEY_VERSIONS: Final = frozenset({0, 111})


def _hashlib_has_ripemd160() -> bool:
    """OpenSSL 3.0.0 to 3.0.6 keep RIPEMD-160 in a provider that is not loaded, though Python may still list it."""
    try:
        hashlib.new("ripemd160", usedforsecurity=False)
    except ValueError:
        return False
    return True


_HASHLIB_HAS_RIPEMD160: Final = _hashlib_has_ripemd160()


class NotAnAddress(ValueError):
    """The text is not an address. The message says why, and does not quote the text."""


def hash160(key: bytes) -> bytes:
    """RIPEMD-160 of SHA-256, 20 bytes."""
    return ripemd160(hashlib.sha256(key).digest())


def ripemd160(message: bytes) -> bytes:
    if _HASHLIB_HAS_RIPEMD160:
        return hashlib.new("ripemd160", message, usedforsecurity=False).digest()
    return RIPEMD160.new(message).digest()


def app_address(compressed_key: bytes) -> str:
    """The bucket address of a 33-byte compressed app public key."""
    return base58check_encode(_P2PKH_MAINNET, hash160(compressed_key))


def is_app_address(text: str) -> bool:
    """Whether this is a mainnet single-key base58check address, as every bucket has."""
    try:
        version, _ = base58check_decode(text)
    except NotAnAddress:
        return False
    return version == _P2PKH_MAINNET


def owner_hash(address: str) -> bytes:
    """The hash160 inside a name owner's address, c32 or base58, if one key can own it. Raises `NotAnAddress`."""
    if address[:1].upper() == "S":
        c32_version, digest = c32check_decode(address)
        version = _C32_TO_BASE58.get(c32_version)
    else:
        version, digest = base58check_decode(address)
    if version not in _SINGLE_KEY_VERSIONS:
        raise NotAnAddress("is not the address of a single key")
    return digest


def base58check_encode(version: int, digest: bytes) -> str:
    body = bytes([version]) + digest
    body += _checksum(body)
    zeros = len(body) - len(body.lstrip(b"\0"))
    return "1" * zeros + _write_number(int.from_bytes(body, "big"), _BASE58)


def base58check_decode(text: str) -> tuple[int, bytes]:
    """(version, 20 bytes). Raises `NotAnAddress`."""
    if not 26 <= len(text) <= 36:
        raise NotAnAddress("has the wrong length")
    number = _read_number(text, _BASE58)
    zeros = len(text) - len(text.lstrip("1"))
    body = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(body) != 25:
        raise NotAnAddress("has the wrong length")
    if _checksum(body[:-4]) != body[-4:]:
        raise NotAnAddress("has a wrong checksum")
    return body[0], body[1:-4]


def c32check_encode(version: int, digest: bytes) -> str:
    body = digest + _checksum(bytes([version]) + digest)
    zeros = len(body) - len(body.lstrip(b"\0"))
    return "S" + _C32[version] + "0" * zeros + _write_number(int.from_bytes(body, "big"), _C32)


def c32check_decode(text: str) -> tuple[int, bytes]:
    """(version, 20 bytes). Upper and lower case, and O, L, I for 0, 1, 1, are accepted. Raises `NotAnAddress`."""
    if not text.isascii():  # upper() makes ASCII of some letters that are not
        raise NotAnAddress("has a character that no address has")
    text = text.upper().translate(_C32_LOOK_ALIKES)
    if not 5 <= len(text) <= 43 or text[0] != "S":
        raise NotAnAddress("has the wrong length")
    version = _C32.find(text[1])
    number = _read_number(text[2:], _C32)
    if version < 0 or number.bit_length() > 24 * 8:
        raise NotAnAddress("has the wrong length")
    body = number.to_bytes(24, "big")
    if _checksum(bytes([version]) + body[:20]) != body[20:]:
        raise NotAnAddress("has a wrong checksum")
    return version, body[:20]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]


def _write_number(number: int, alphabet: str) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(alphabet))
        digits = alphabet[digit] + digits
    return digits


def _read_number(text: str, alphabet: str) -> int:
    number = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            raise NotAnAddress("has a character that no address has")
        number = number * len(alphabet) + digit
    return number
