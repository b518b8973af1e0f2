"""Texts as they lie in the database: sealed with AES-256-GCM under the key of their day."""

import json
import logging
import os
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inbox_server.store.contract import ENTRY_JSON
from inbox_server.store.postgres.day_keys import DayKeys, KeyGone
from inbox_server.store.texts import TEXT_BYTES, as_listed, base64url

NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_BETWEEN: Final = ENTRY_JSON[1].encode()
_HEAD_BYTES: Final = 43 + len(_BETWEEN)
_LISTED_BYTES: Final = _HEAD_BYTES + TEXT_BYTES
_BODY: Final = struct.Struct(f">H{NONCE_BYTES}s")  # how many bytes are sealed, and the nonce; the sealed bytes follow
BODY_HEAD_BYTES: Final = _BODY.size
MORE_BYTES: Final = BODY_HEAD_BYTES + _HEAD_BYTES + _TAG_BYTES
"""What is kept of a text has so many bytes more than the text, and one for each quote and backslash."""
_MOST_CIPHERS: Final = 4000  # days; about 1 KB each

log = logging.getLogger(__name__)


class Sealing:
    """Seals and opens texts. `random_bytes` gives nonces, which must never come twice.

    A text is sealed as it is listed: its id in base64url, what comes between the two, the text with quotes and
    backslashes escaped. If that does not fit, it is sealed as it was delivered, and a byte longer than any other. Texts
    are not padded: `message.size` tells their length anyway.
    """

    def __init__(self, keys: DayKeys, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.keys = keys
        self._random_bytes = random_bytes
        self._ciphers: dict[int, AESGCM] = {}

    def seal(self, inbox: bytes, id: bytes, day: int, text: str) -> bytes:
        """What is kept of a text of ASCII that expires on a day. Raises `KeyGone`."""
        listed, length = as_listed(text)
        plain = base64url(id).encode() + _BETWEEN + listed.encode()
        return self._seal(day, plain if length is not None else plain.ljust(_LISTED_BYTES + 1, b"\0"), inbox + id)

    def _seal(self, day: int, plain: bytes, context: bytes) -> bytes:
        nonce = self._random_bytes(NONCE_BYTES)
        sealed = self._cipher(day).encrypt(nonce, plain, context)
        return _BODY.pack(len(sealed), nonce) + sealed

    def open(self, inbox: bytes, id: bytes, day: int, nonce: bytes, sealed: bytes) -> bytes:
        """Id and text as they are listed, with what comes between the two.

        Without the text when it cannot be opened: its day is over, or a disk has changed it.
        """
        try:
            plain = (self._ciphers.get(day) or self._cipher(day)).decrypt(nonce, sealed, inbox + id)
        except (InvalidTag, KeyGone):
            log.error("a text cannot be opened with the day keys of this host")  # noqa: TRY400 — there may be many
            return base64url(id).encode() + _BETWEEN
        if len(plain) <= _LISTED_BYTES:
            return plain
        return plain[:_HEAD_BYTES] + json.dumps(plain[_HEAD_BYTES:].rstrip(b"\0").decode("ascii"))[1:-1].encode()

    def open_body(self, inbox: bytes, id: bytes, day: int, body: bytes) -> bytes:
        """As `open`, of what is kept."""
        return self.open(inbox, id, day, *parts_of(body))

    def reseal(self, inbox: bytes, id: bytes, day: int, new_day: int, body: bytes) -> bytes:
        """A sealed text under the key of another day; as it is, if it cannot be opened. Raises `KeyGone`."""
        nonce, sealed = parts_of(body)
        try:
            plain = self._cipher(day).decrypt(nonce, sealed, inbox + id)
        except (InvalidTag, KeyGone):
            return body
        return self._seal(new_day, plain, inbox + id)

    def _cipher(self, day: int) -> AESGCM:
        cipher = self._ciphers.get(day)
        if cipher is None:
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers.clear()
            cipher = self._ciphers[day] = AESGCM(self.keys.key(day))
        return cipher

    def move_on(self, day: int) -> None:
        """Forget the keys of all days before this one. Raises OSError."""
        self.keys.move_on(day)
        self._ciphers = {each: cipher for each, cipher in self._ciphers.items() if each >= day}


def parts_of(body: bytes) -> tuple[bytes, bytes]:
    """The nonce and the sealed bytes of what is kept."""
    length, nonce = _BODY.unpack_from(body)
    return nonce, body[BODY_HEAD_BYTES : BODY_HEAD_BYTES + length]
