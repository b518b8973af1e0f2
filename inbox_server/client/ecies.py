"""Encryption to an app key and signed envelopes, byte for byte as @stacks/encryption has them.

ECDH on secp256k1 (x coordinate only), SHA-512 of it split into an AES-256-CBC key and an HMAC-SHA256 key; the MAC
covers IV, ephemeral key and ciphertext. Encryption does not show who wrote a text: the envelope's signature does.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from inbox_server.client.appkey import AppKey
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key

_BLOCK_BITS = 128


class CannotDecrypt(ValueError):
    """The text is not encrypted to this key, or it was changed."""


class BadEnvelope(ValueError):
    """This is not a signed envelope, or its signature is invalid."""


def encrypt(public: str, content: str | bytes, *, ephemeral: AppKey, iv: bytes, as_base64: bool = False) -> str:
    """`content` encrypted to a public key in hex, as JSON text. Use `ephemeral` and `iv` (16 bytes) only once."""
    cipher_key, mac_key = _keys(ephemeral, bytes.fromhex(public))
    plain = content.encode() if isinstance(content, str) else content
    padder = PKCS7(_BLOCK_BITS).padder()
    encryptor = Cipher(AES(cipher_key), CBC(iv)).encryptor()
    cipher_text = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    ephemeral_public = bytes.fromhex(ephemeral.public)
    members: dict[str, Any] = {
        "iv": iv.hex(),
        "ephemeralPK": ephemeral.public,
        "cipherText": base64.b64encode(cipher_text).decode() if as_base64 else cipher_text.hex(),
        "mac": hmac.digest(mac_key, iv + ephemeral_public + cipher_text, "sha256").hex(),
        "wasString": isinstance(content, str),
    }
    if as_base64:
        members["cipherTextEncoding"] = "base64"
    return json.dumps(members, separators=(",", ":"))


def decrypt(key: AppKey, text: str) -> str | bytes:
    """The decrypted content: text or bytes, as it was encrypted. Raises `CannotDecrypt`."""
    return _decrypted(text, key, None)


def decrypt_own(ephemeral: AppKey, public: str, text: str) -> str | bytes:
    """The same for the writer, who still has the ephemeral key: what was encrypted to `public`. `CannotDecrypt`."""
    return _decrypted(text, ephemeral, bytes.fromhex(public))


def _decrypted(text: str, key: AppKey, other: bytes | None) -> str | bytes:
    try:
        plain, was_string = _decrypt(json.loads(text), key, other)
        return plain.decode() if was_string else plain
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise CannotDecrypt("is not encrypted to this key, or was changed") from None


def _decrypt(members: Mapping[str, Any], key: AppKey, other: bytes | None) -> tuple[bytes, bool]:
    """`other` is the public key beside `key`; with None, the ephemeral one in the text."""
    iv, mac = bytes.fromhex(members["iv"]), bytes.fromhex(members["mac"])
    ephemeral_public = bytes.fromhex(members["ephemeralPK"])
    if members.get("cipherTextEncoding") == "base64":
        cipher_text = base64.b64decode(members["cipherText"], validate=True)
    else:
        cipher_text = bytes.fromhex(members["cipherText"])
    cipher_key, mac_key = _keys(key, other or ephemeral_public)
    if not hmac.compare_digest(hmac.digest(mac_key, iv + ephemeral_public + cipher_text, "sha256"), mac):
        raise ValueError("wrong MAC")
    decryptor = Cipher(AES(cipher_key), CBC(iv)).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    plain = unpadder.update(decryptor.update(cipher_text) + decryptor.finalize()) + unpadder.finalize()
    return plain, bool(members.get("wasString"))


def sign_envelope(key: AppKey, encrypted: str) -> str:
    """The signed envelope around an encrypted text, as `encryptContent` makes it with `sign`."""
    members = {"signature": key.sign(encrypted.encode()).hex(), "publicKey": key.public, "cipherText": encrypted}
    return json.dumps(members, separators=(",", ":"))


def open_envelope(envelope: str) -> tuple[PublicKey, str]:
    """The key that signed, and the encrypted text. The caller must check whose key it is.

    Raises `BadEnvelope`.
    """
    try:
        members = json.loads(envelope)
        signer, encrypted = parse_key(members["publicKey"]), members["cipherText"]
        signature = bytes.fromhex(members["signature"])
        holds = signer.signed_der(encrypted.encode(), signature)
    except (NotAKey, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadEnvelope("is not a signed envelope") from None
    if not holds:
        raise BadEnvelope("has a signature that does not hold")
    return signer, encrypted


def _keys(own: AppKey, other: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha512(own.shared_x(other)).digest()
    return digest[:32], digest[32:]
