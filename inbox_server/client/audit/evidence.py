"""A piece of evidence against a server: one JSON file that somebody else can check offline.

It convinces of what the server signed: a receipt, or two heads that do not fit. That an entry is missing it shows only
for somebody who believes that the log in it is the whole one, as the signed head says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from inbox_server.client.audit.findings import Finding
from inbox_server.client.audit.log_check import CheckedLog, LogAnswer, LogFault, Owner, check_log, head_of
from inbox_server.client.index import Receipt
from inbox_server.client.receipts import BadReceipt, Taken, check_receipt
from inbox_server.client.refusals import Unreachable
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.addresses import is_app_address
from inbox_server.identity.keys import NotAKey, parse_key
from inbox_server.identity.names import is_origin
from inbox_server.inbox_log import HEAD_TYPE
from inbox_server.protocol.base64url import NotBase64Url, decode
from inbox_server.protocol.signed import NotSigned, read_signed
from inbox_server.protocol.strict_json import NotStrict, parse_object

KIND: Final = "message-inbox-evidence"
MOST_EVIDENCE_BYTES: Final = 64 << 20
_ID_BYTES: Final = 32


class BadEvidence(ValueError):
    """The file proves nothing. The message says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file shows. `is_proof`: the server has contradicted itself; otherwise it only signed for something."""

    is_proof: bool
    says: tuple[str, ...]


def evidence_of(
    owner: Owner,
    answers: Sequence[LogAnswer],
    found: Finding,
    *,
    key: str = "",
    receipt: Receipt | None = None,
    before: str = "",
) -> dict[str, Any]:
    """`before` is the server's own token for an earlier head."""
    document: dict[str, Any] = {"v": 1, "kind": KIND, "inbox": owner.inbox, "key": key or owner.keys[0]}
    document["address"] = owner.address
    if receipt is not None:
        document["entry"] = {"id": found.entry, "expires": receipt["expires"]}
        document["receipt"] = {name: receipt[name] for name in ("token", "salt", "path")}
    if before:
        document["before"] = before
    return document | {"log": [dict(answer.document) for answer in answers], "says": found.says}


def render_evidence(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def check_evidence(content: bytes) -> Verdict:
    """Check everything in a file that can be checked without asking anybody. Raises `BadEvidence`."""
    if len(content) > MOST_EVIDENCE_BYTES:
        raise BadEvidence("is too large")
    try:
        document = parse_object(content)
    except NotStrict as error:
        raise BadEvidence(f"is not evidence: it {error}") from None
    if document.get("v") != 1 or document.get("kind") != KIND:
        raise BadEvidence("is not evidence of version 1 of this protocol")
    owner = _owner(document)
    if "receipt" in document:
        return _of_receipt(document, owner, _log(document, owner))
    if "before" in document and document.get("log"):
        return _of_heads(document, owner)
    raise BadEvidence("has no receipt, and no earlier head with a log, so it proves nothing")


def _owner(document: Mapping[str, Any]) -> Owner:
    inbox, key, address = (document.get(name) for name in ("inbox", "key", "address"))
    try:
        parse_key(str(key))
    except NotAKey:
        raise BadEvidence("has no receipt key") from None
    if not is_origin(str(inbox)) or not is_app_address(str(address)):
        raise BadEvidence("does not say which server, or whose inbox")
    return Owner(str(inbox), (str(key),), str(address))


def _log(document: Mapping[str, Any], owner: Owner, points: tuple[int, ...] = ()) -> CheckedLog | None:
    """The nonces are the owner's, and prove nothing to others: what a token says is taken."""
    pages = document.get("log") or []
    if not pages:
        return None
    try:
        answers = [LogAnswer(_nonce_in(page["signed"], owner), page) for page in pages]
        return check_log(answers, owner, points)
    except (LogFault, Unreachable, NotSigned, LookupError, TypeError, AttributeError):
        raise BadEvidence("has a log that this key did not sign, or that does not hold together") from None


def _nonce_in(token: str, owner: Owner) -> str:
    return str(read_signed(token, parse_key(owner.keys[0]), HEAD_TYPE).get("nonce"))


def _of_receipt(document: Mapping[str, Any], owner: Owner, log: CheckedLog | None) -> Verdict:
    id, expires = _entry(document)
    try:
        day = check_receipt(document["receipt"], owner.keys[0], Taken(owner.inbox, owner.address, id, expires))
    except BadReceipt as error:
        raise BadEvidence(f"has a receipt that {error}") from None
    took = f"{owner.inbox} signed on {_date(day)} (UTC) that it took {id} for {owner.address}"
    if log is None:
        return Verdict(False, (took, "the file has no log, so it does not show that the entry is missing"))
    if id in log.numbers:
        return Verdict(False, (took, "the entry is in the log of this file: nothing is missing"))
    if log.at >= expires:
        return Verdict(False, (took, "the log is from after the entry's life, so it need not be in it"))
    if log.restored is not None and log.restored >= day:
        return Verdict(False, (took, "the server says that an earlier copy was put back since: it lost the entry"))
    lacks = "the log that it signed afterwards lacks the entry"
    if log.at // DAY_SECONDS > day:
        return Verdict(True, (took, lacks))
    same_day = "on the same day, and that the log was read later is the owner's word: audit again on another day"
    return Verdict(False, (took, f"{lacks}, but {same_day}"))


def _date(day: int) -> str:
    try:
        return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):  # a number that no clock shows
        return f"day {day}"


def _entry(document: Mapping[str, Any]) -> tuple[str, UnixTime]:
    try:
        id, expires = document["entry"]["id"], document["entry"]["expires"]
        is_entry = type(expires) is int and expires >= 0 and len(decode(id)) == _ID_BYTES
    except (NotBase64Url, LookupError, TypeError):
        is_entry = False
    if not is_entry:
        raise BadEvidence("does not say which entry the receipt is for")
    return id, UnixTime(expires)


def _of_heads(document: Mapping[str, Any], owner: Owner) -> Verdict:
    point = head_of(str(document["before"]), owner)
    if point is None:
        raise BadEvidence("has an earlier head that this key did not sign for this inbox")
    log = _log(document, owner, (point.n,))
    said = f"{owner.inbox} signed earlier that the log of {owner.address} went up to {point.n}"
    if log is None or point.n < log.base.n:
        return Verdict(False, (said, "the log that it signed afterwards begins later: nothing can be compared"))
    if log.heads.get(point.n) == point.head:
        return Verdict(False, (said, "the log that it signed afterwards goes on from there: nothing is wrong"))
    how = "ends before that" if point.n > log.head.n else "is another one up to there"
    if log.restored is not None:
        return Verdict(False, (said, f"the log now {how}, and the server says that an earlier copy was put back"))
    return Verdict(True, (said, f"the log that it signed for another question {how}"))
