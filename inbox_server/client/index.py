"""The index in the sender's bucket: what was sent to one recipient in one week, and the receipts for it.

It is encrypted and signed to the recipient, who finds in it what a server did not show. The sender can read it as well,
because its ephemeral key is derived (`pairs.py`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import (
    BadEnvelope,
    CannotDecrypt,
    decrypt,
    decrypt_own,
    encrypt,
    open_envelope,
    sign_envelope,
)
from inbox_server.client.pairs import Pair
from inbox_server.client.tokens_and_cards import MESSAGE_ID
from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import NotBase64Url, decode
from inbox_server.protocol.strict_json import NotStrict, is_whole, parse_object

_STEP_BYTES: Final = 4096  # so that the size tells little
MOST_INDEX_BYTES: Final = 16 << 20  # several thousand messages of one week
_HASH_BYTES: Final = 32
_SALT_BYTES: Final = 16
_LEVELS: Final = 9

Receipt = Mapping[str, Any]
"""`token`, `salt` and `path` as the server answered, and `expires` from the same answer."""


class BadIndex(ValueError):
    """The file is not an index of this sender, recipient and week. The message says why."""


class IndexNotWhole(BadIndex):
    """The file is being written, or its upload was cut off. It may be whole soon."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """`n` is the pair's counter, `id` the message's file in the sender's bucket, `entry` the id at every inbox.

    `receipts` are by the origin of the inbox server that gave them.
    """

    n: int
    id: str
    entry: str
    expires: UnixTime
    receipts: Mapping[str, Receipt] = field(default_factory=dict)


def make_index(key: AppKey, pair: Pair, week: int, entries: Iterable[IndexEntry], *, iv: bytes) -> bytes:
    """The content of the file; `iv` has 16 random bytes."""
    members = {"v": 1, "week": week, "from": pair.sender, "to": pair.recipient, "entries": [*map(_members, entries)]}
    plain = json.dumps(members, separators=(",", ":"))
    padded = plain + " " * (-len(plain) % _STEP_BYTES)
    ephemeral = pair.index_ephemeral(week)
    return sign_envelope(key, encrypt(pair.recipient, padded, ephemeral=ephemeral, iv=iv, as_base64=True)).encode()


def read_index(content: bytes, pair: Pair, week: int, key: AppKey) -> tuple[IndexEntry, ...]:
    """The entries, for whoever of the two has `key`. Raises `BadIndex` unless the sender wrote it for this week."""
    if not is_whole(content):
        raise IndexNotWhole("is empty or breaks off: it is being written, or an upload was cut off")
    try:
        signer, plain = _opened(content.decode(), pair, week, key)
        members = parse_object(plain)
        says = [members.get(name) for name in ("v", "week", "from", "to")]
        entries = tuple(map(_entry, members["entries"]))
    except (BadEnvelope, CannotDecrypt, NotStrict, NotBase64Url, LookupError, ValueError, TypeError, AttributeError):
        raise BadIndex("is not an index of this protocol, or not for this pair") from None
    if signer != pair.sender:
        raise BadIndex("is not signed by its sender")
    if says != [1, week, pair.sender, pair.recipient]:
        raise BadIndex("is of another version, sender, recipient or week")
    return entries


def _opened(envelope: str, pair: Pair, week: int, key: AppKey) -> tuple[str, bytes]:
    """The key that signed, and the plain text. Raises `BadEnvelope` or `CannotDecrypt`."""
    signer, encrypted = open_envelope(envelope)
    is_own = key.public == pair.sender
    plain = decrypt_own(pair.index_ephemeral(week), pair.recipient, encrypted) if is_own else decrypt(key, encrypted)
    return signer.hex, plain.encode() if isinstance(plain, str) else plain


def merge_entries(known: Iterable[IndexEntry], added: Iterable[IndexEntry]) -> tuple[IndexEntry, ...]:
    """Both as one list in the order of `n`: of one delivery the longest life, and every inbox's latest receipt."""
    merged: dict[str, IndexEntry] = {}
    for entry in (*known, *added):
        before = merged.get(entry.entry, entry)
        merged[entry.entry] = replace(
            entry, expires=max(before.expires, entry.expires), receipts={**before.receipts, **entry.receipts}
        )
    return tuple(sorted(merged.values(), key=lambda entry: entry.n))


def is_receipt(document: Any) -> bool:
    """Whether this has the form of a receipt. Whether it proves anything, `receipts.py` says."""
    try:
        sizes = [len(decode(text)) for text in (document["salt"], *document["path"])]
        return sizes == [_SALT_BYTES] + [_HASH_BYTES] * _LEVELS and isinstance(document["token"], str)
    except (NotBase64Url, LookupError, TypeError, AttributeError):
        return False


def _members(entry: IndexEntry) -> dict[str, Any]:
    receipts = {inbox: _without_repetition(receipt, entry.expires) for inbox, receipt in entry.receipts.items()}
    return {"n": entry.n, "id": entry.id, "entry": entry.entry, "expires": entry.expires, "receipts": receipts}


def _without_repetition(receipt: Receipt, expires: UnixTime) -> dict[str, Any]:
    kept = {name: receipt[name] for name in ("token", "salt", "path")}
    return kept if receipt["expires"] == expires else {**kept, "expires": receipt["expires"]}


def _entry(members: Mapping[str, Any]) -> IndexEntry:
    """A receipt that has not the form of one is left out: it proves nothing. Raises ValueError and the like."""
    n, id, entry, expires = (members[name] for name in ("n", "id", "entry", "expires"))
    if type(n) is not int or type(expires) is not int or n < 1 or expires < 0:
        raise ValueError("has an entry with a number that is none")
    if not MESSAGE_ID.fullmatch(id) or len(decode(entry)) != _HASH_BYTES:
        raise ValueError("has an entry with an id that is none")
    receipts = {
        str(inbox): {**receipt, "expires": receipt.get("expires", expires)}
        for inbox, receipt in members["receipts"].items()
        if is_receipt(receipt) and type(receipt.get("expires", expires)) is int
    }
    return IndexEntry(n, id, entry, UnixTime(expires), receipts)
