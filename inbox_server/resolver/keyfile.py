"""App public keys as apps have written them into buckets: seven formats, each seen in the wild.

A key file is only a hint which key to try. A key counts when it hashes to the address of the bucket.
"""

import json
import re
from typing import Any, Final

from inbox_server.identity.keys import NotAKey, PublicKey, key_from_bytes

MAX_KEY_FILE_BYTES: Final = 4096
# The most common first.
KEY_FILES: Final = (
    "key.json",
    "public_key.json",
    "publicKey.json",
    "pubKey.json",
    "pk.txt",
    "key.txt",
    "public_key.txt",
)
_MEMBERS: Final = ("appPublicKey", "publicKey", "pubKey", "public_key", "key")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_HEX_BEGIN: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{0,129}")
_WHOLE_HEX: Final = re.compile(r"(?:0x)?(?:0[23][0-9a-fA-F]{64}|[0-9a-fA-F]{128}|[0-9a-fA-F]{130,})")
_JSON_BEGINS: Final = ("{", "[", '"')


def read_key_file(body: bytes, address: str) -> PublicKey | None:
    """The key in a file of the bucket at `address`, or None when there is none that hashes to it."""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    try:
        candidate = _candidate(json.loads(text))
    except (ValueError, RecursionError):
        candidate = text  # bare hex is not JSON, unless it is all digits
    return check_key(candidate, address) if candidate else None


def is_unfinished(body: bytes) -> bool:
    """Whether this can be the beginning of a key file: hubs serve a file that is only partly uploaded.

    A "not found" page cannot.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    if text[:1] not in _JSON_BEGINS:
        return bool(_HEX_BEGIN.fullmatch(text)) and not _WHOLE_HEX.fullmatch(text)
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return True
    except (ValueError, RecursionError):  # a number too long, or nested too deep: complete, and not a key
        return False
    return False


def check_key(text: str, address: str) -> PublicKey | None:
    """The key written as compressed, uncompressed or raw X and Y in hex, if it hashes to `address`."""
    text = text.strip().removeprefix("0x")
    if not _HEX.fullmatch(text):
        return None
    if len(text) == 128:  # X and Y alone, as Ethereum's libraries write it
        text = "04" + text
    if len(text) not in (66, 130):
        return None
    try:
        key = key_from_bytes(bytes.fromhex(text))
    except NotAKey:
        return None
    return key if key.address == address else None


def _candidate(document: Any) -> str | None:
    if isinstance(document, int):  # a key whose hex happens to be digits only; its leading zero is lost
        return f"{document:066d}"
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        # An encrypted file has none of these; a signed envelope and a `.sig` file do have the writer's `publicKey`.
        return next((document[name] for name in _MEMBERS if isinstance(document.get(name), str)), None)
    return None
