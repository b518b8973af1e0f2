"""Message IDs as text: a store keeps them as they are listed, so that a page is joined and not written."""

import base64
import json
from typing import Final

TEXT_BYTES: Final = 1024  # the longest message ID; tests hold it equal to the protocol's limit


def as_listed(text: str) -> tuple[str, int | None]:
    """A text of ASCII as JSON has it, and its length; if that is too long to be kept, the text itself and None."""
    if '"' not in text and "\\" not in text:
        return text, len(text)
    listed = json.dumps(text)[1:-1]
    return (listed, len(listed)) if len(listed) <= TEXT_BYTES else (text, None)


def base64url(raw: bytes) -> str:
    """Without padding, as `protocol/base64url.py` has it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
