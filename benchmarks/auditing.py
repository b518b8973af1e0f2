"""An audit of 10,000 entries by the Python client, from the answers as bytes: `python -m benchmarks.auditing`.

Measured is the client's processor time: reading ten pages of JSON, folding the log, and holding it against as many
receipts from contacts' indexes, 64 of which share a signature. First, all is in order. Then the log lacks them all, so
that every receipt has to be checked.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.audit.judging import ContactEntry, Material, judge
from inbox_server.client.audit.log_check import LogAnswer, Owner, check_log
from inbox_server.client.index import IndexEntry
from inbox_server.client.receipts import Offers
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.receipts import RECEIPT_TYPE, grow_tree, leaf_of
from inbox_server.protocol.signed import write_signed
from inbox_server.protocol.strict_json import parse_object

ENTRIES: Final = 10_000
_PAGE: Final = 1000
_COMMIT: Final = 64
_INBOX: Final = "https://inbox.example"
_DAY: Final = 20_833
_EXPIRES: Final = UnixTime((_DAY + 30) * DAY_SECONDS + DAY_SECONDS - 1)
_ROUNDS: Final = 5
_MOST_SECONDS: Final = 1.0


def main() -> int:
    key, bob, alice = SigningKey(os.urandom(32)), AppKey(os.urandom(32)), AppKey(os.urandom(32))
    owner = Owner(_INBOX, (key.public.hex,), bob.address)
    ids = [os.urandom(32) for _ in range(ENTRIES)]
    sent = tuple(_sent(key, bob.address, alice.public, ids))
    whole, empty = (_answers(key, bob.address, kept) for kept in (ids, []))
    rows = {
        "an audit of 10,000 entries, all in order": _measured(lambda: _audit(owner, whole, sent), 0),
        "the same with all 10,000 missing, and every receipt checked": _measured(
            lambda: _audit(owner, empty, sent), ENTRIES
        ),
    }
    for what, seconds in rows.items():
        print(f"| {what} | {seconds:.2f} s of processor time |")
    return 0 if max(rows.values()) < _MOST_SECONDS * 2 and min(rows.values()) < _MOST_SECONDS else 1


def _measured(audit: Callable[[], int], expected: int) -> float:
    """The median of some rounds."""
    took = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        found = audit()
        took.append(time.process_time() - begun)
        assert found == expected, found
    return sorted(took)[_ROUNDS // 2]


def _audit(owner: Owner, answers: list[tuple[str, bytes]], sent: tuple[ContactEntry, ...]) -> int:
    """How many accusations."""
    log = check_log([LogAnswer(nonce, parse_object(body)) for nonce, body in answers], owner)
    offers = Offers(owner.keys[0], True, 90 * DAY_SECONDS, 60_000)
    findings, _ = judge(Material(owner, log, offers, UnixTime((_DAY - 9) * DAY_SECONDS), sent=sent))
    return sum(finding.is_accusation for finding in findings)


def _answers(key: SigningKey, address: str, ids: list[bytes]) -> list[tuple[str, bytes]]:
    """As the server gives them: the nonce and the body of each page."""
    base = LogPoint(1 << 39, os.urandom(32))
    entries = [LogEntry(base.n + place, id) for place, id in enumerate(ids, 1)]
    head = fold(base, entries)
    points = {"base": _point(base), "head": _point(head)}
    answers = []
    for start in range(0, max(len(entries), 1), _PAGE):
        nonce = encode(os.urandom(16))
        claims = {"iss": _INBOX, "sub": address, **points, "nonce": nonce, "iat": (_DAY + 2) * DAY_SECONDS}
        page = [{"n": entry.n, "id": encode(entry.id)} for entry in entries[start : start + _PAGE]]
        signed = write_signed(key.sign, claims, HEAD_TYPE)
        document = {**points, "entries": page, "more": start + _PAGE < len(entries), "signed": signed}
        answers.append((nonce, json.dumps(document).encode()))
    return answers


def _sent(key: SigningKey, address: str, sender: str, ids: list[bytes]) -> list[ContactEntry]:
    sent: list[ContactEntry] = []
    for start in range(0, len(ids), _COMMIT):
        commit = [(id, os.urandom(16)) for id in ids[start : start + _COMMIT]]
        root, paths = grow_tree([leaf_of(salt, address, id, _EXPIRES) for id, salt in commit], os.urandom)
        token = write_signed(key.sign, {"iss": _INBOX, "root": encode(root), "day": _DAY}, RECEIPT_TYPE)
        for (id, salt), path in zip(commit, paths, strict=True):
            receipt: dict[str, Any] = {"token": token, "salt": encode(salt), "path": [*map(encode, path)]}
            message = hashlib.sha256(id).hexdigest()[:32]
            entry = IndexEntry(len(sent) + 1, message, encode(id), _EXPIRES, {_INBOX: {**receipt, "expires": _EXPIRES}})
            sent.append(ContactEntry("alice.id", sender, "", entry))
    return sent


def _point(point: LogPoint) -> dict[str, Any]:
    return {"n": point.n, "head": encode(point.head)}


if __name__ == "__main__":
    sys.exit(main())
