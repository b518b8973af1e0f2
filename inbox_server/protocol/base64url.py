"""base64url without padding (RFC 4648 section 5), in its one canonical form.

Python's decoder skips foreign characters and accepts loose tails, so we check for both before we call it.
"""

import binascii
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")
_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_FROM_BASE64: Final = bytes.maketrans(b"+/", b"-_")
# The characters that may come last, by the length of the last group of four, so that no bit is lost.
_LAST: Final = {2: "AQgw", 3: "AEIMQUYcgkosw048"}


class NotBase64Url(ValueError):
    """The text is not canonical base64url without padding."""


def encode(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).translate(_FROM_BASE64).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises `NotBase64Url`."""
    rest = len(text) % 4
    if rest == 1 or not _ALPHABET.fullmatch(text) or (rest and text[-1] not in _LAST[rest]):
        raise NotBase64Url
    return binascii.a2b_base64(text.encode().translate(_TO_BASE64) + b"==")
