"""Texts as they lie in the database: padded to one size, and sealed with AES-256-GCM under the key of their day."""

import json
import os
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inbox_server.store.postgres.day_keys import DayKeys, KeyGone
from inbox_server.store.texts import TEXT_BYTES, as_listed

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
BODY_BYTES: Final = _NONCE_BYTES + 1 + TEXT_BYTES + _TAG_BYTES
BLANK: Final = bytes(BODY_BYTES)
_MOST_CIPHERS: Final = 4000  # days; about 1 KB each
_LISTED, _AS_IT_IS = b"\1", b"\0"


class Sealing:
    """Seals and opens texts. `random_bytes` gives nonces, which must never come twice."""

    def __init__(self, keys: DayKeys, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.keys = keys
        self._random_bytes = random_bytes
        self._ciphers: dict[int, AESGCM] = {}

    def seal(self, inbox: bytes, id: bytes, day: int, text: str) -> bytes:
        """What is kept of a text of ASCII that expires on a day. Raises `KeyGone`."""
        listed, length = as_listed(text)
        plain = (_AS_IT_IS if length is None else _LISTED) + listed.encode()
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + self._cipher(day).encrypt(nonce, plain.ljust(1 + TEXT_BYTES, b"\0"), inbox + id)

    def open(self, inbox: bytes, id: bytes, day: int, body: bytes) -> str | None:
        """A text as JSON has it, without the quotes around it.

        None when it cannot be opened: its day is over, or a disk has changed it.
        """
        try:
            plain = self._cipher(day).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], inbox + id)
        except (InvalidTag, KeyGone):
            return None
        text = plain[1:].rstrip(b"\0").decode("ascii")
        return text if plain[:1] == _LISTED else json.dumps(text)[1:-1]

    def reseal(self, inbox: bytes, id: bytes, day: int, new_day: int, body: bytes) -> bytes:
        """A sealed text under the key of another day; as it is, if it cannot be opened. Raises `KeyGone`."""
        context = inbox + id
        try:
            plain = self._cipher(day).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], context)
        except (InvalidTag, KeyGone):
            return body
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + self._cipher(new_day).encrypt(nonce, plain, context)

    def _cipher(self, day: int) -> AESGCM:
        cipher = self._ciphers.get(day)
        if cipher is None or day < self.keys.day:
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers.clear()
            cipher = self._ciphers[day] = AESGCM(self.keys.key(day))
        return cipher

    def move_on(self, day: int) -> None:
        """Forget the keys of all days before this one. Raises OSError."""
        self.keys.move_on(day)
        self._ciphers = {each: cipher for each, cipher in self._ciphers.items() if each >= day}
