"""What a sender and a recipient share without exchanging it: keys derived from the Diffie-Hellman of their app keys.

A pair has a direction. docs/protocol.md says what is derived, and tests/vectors/trust.json has examples.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime

WEEK_SECONDS: Final = 604_800
SHORT_BYTES: Final = 16  # of a hash or an HMAC, where these are enough
_KEY_BYTES: Final = 32


def week_of(moment: UnixTime) -> int:
    """Weeks since 1970: an index is of one week."""
    return moment // WEEK_SECONDS


def short_hash(plain: bytes) -> bytes:
    """The first 16 bytes of the SHA-256 of a pointer's plain text with its padding: `prev` of the pair's next one."""
    return hashlib.sha256(plain).digest()[:SHORT_BYTES]


@dataclass(frozen=True, slots=True)
class Pair:
    """One direction: what the key `sender` writes to the key `recipient`; both in hex."""

    sender: str
    recipient: str
    _shared: bytes = field(repr=False)

    @classmethod
    def to(cls, recipient: str, own: AppKey) -> Self:
        """Raises ValueError unless `recipient` is a key."""
        return cls(own.public, recipient, own.shared_x(bytes.fromhex(recipient)))

    @classmethod
    def of(cls, sender: str, own: AppKey) -> Self:
        """Raises ValueError unless `sender` is a key."""
        return cls(sender, own.public, own.shared_x(bytes.fromhex(sender)))

    @property
    def _keys(self) -> bytes:
        return bytes.fromhex(self.sender) + bytes.fromhex(self.recipient)

    def mac(self, n: int, prev: bytes, id: str) -> bytes:
        """Shows that one of the two made the pointer to the message `id`. 16 bytes."""
        content = self._keys + n.to_bytes(8, "big") + prev + id.encode("ascii")
        return hmac.digest(self.derive(b"message-inbox-pointer"), content, "sha256")[:SHORT_BYTES]

    def index_path(self, week: int) -> str:
        """Where the index of a week is in the sender's bucket. A hub cannot tell for whom it is."""
        return f"index/{self._index_name(week).hex()}.json"

    def index_ephemeral(self, week: int) -> AppKey:
        """The ephemeral key with which the index of a week is encrypted to the recipient.

        It is derived, so that the sender can read the file too: another device, or one that lost its profile.
        """
        return AppKey(self.derive(b"message-inbox-index-ephemeral" + self._index_name(week)))

    def derive(self, info: bytes) -> bytes:
        """HKDF-SHA256 of the shared x with an empty salt, 32 bytes."""
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(self._shared)

    def _index_name(self, week: int) -> bytes:
        key = self.derive(b"message-inbox-index")
        return hmac.digest(key, self._keys + week.to_bytes(8, "big"), "sha256")
