"""base64url without padding (RFC 4648 section 5), in its one canonical form.

Python's decoder skips foreign characters and takes loose tails, so what it decodes is encoded again and compared.
"""

import base64
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")


class NotBase64Url(ValueError):
    """The text is not canonical base64url without padding."""


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises `NotBase64Url`."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise NotBase64Url
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(raw) != text:
        raise NotBase64Url
    return raw
