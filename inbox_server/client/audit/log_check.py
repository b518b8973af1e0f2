"""The log of an inbox as its owner checks it: whether it holds together, answers the question, and what is in it.

No I/O. docs/protocol.md, "Receipts and the log".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.client.refusals import Unreachable
from inbox_server.clock import UnixTime
from inbox_server.identity.keys import parse_key
from inbox_server.inbox_log import HEAD_BYTES, HEAD_TYPE, LogPoint, next_head
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.signed import NotSigned, read_signed

_ID_BYTES: Final = 32


class LogFault(Exception):
    """The log by itself is not what an honest server gives. `code` is a finding's (findings.py)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose log it must be: the server's origin, its receipt keys, newest first, and the owner's app address."""

    inbox: str
    keys: tuple[str, ...]
    address: str


@dataclass(frozen=True, slots=True)
class LogAnswer:
    """An answer of `GET /v1/inbox/log` as it came, and the nonce that was sent."""

    nonce: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedLog:
    """`numbers`: of each id, its first and its last number. `heads`: at the numbers that were asked for.

    `at` is the server's time. `restored`: the UTC day of the last time that a copy was put back.
    """

    base: LogPoint
    head: LogPoint
    numbers: Mapping[str, tuple[int, int]]
    heads: Mapping[int, bytes]
    at: UnixTime
    restored: int | None
    signed: str


@dataclass(frozen=True, slots=True)
class _Page:
    base: LogPoint
    head: LogPoint
    entries: Sequence[tuple[int, str]]
    signed: str


def last_number(document: Mapping[str, Any]) -> tuple[int, bool]:
    """The number up to which an answer goes, and whether there is more. Raises `Unreachable`."""
    page = _page(document)
    return (page.entries[-1][0] if page.entries else page.base.n), document.get("more") is True


def check_log(answers: Sequence[LogAnswer], owner: Owner, points: Iterable[int] = ()) -> CheckedLog:
    """All answers of one reading, in order. Raises `LogFault`, or `Unreachable` for what is no log.

    `points` are numbers at which the caller wants to know the head.
    """
    pages = [_page(answer.document) for answer in answers]
    claims = [_claims(page, answer.nonce, owner) for page, answer in zip(pages, answers, strict=True)]
    told = [point for page in pages for point in (page.base, page.head)]
    wanted = {*points, *(point.n for point in told)}
    n, head = pages[0].base.n, pages[0].base.head
    heads, numbers = {n: head}, dict[str, tuple[int, int]]()
    for number, id in (entry for page in pages for entry in page.entries):
        if number != n + 1:
            raise LogFault("rewritten")
        n, head = number, next_head(head, number, decode(id))
        first, _ = numbers.get(id, (n, n))
        numbers[id] = first, n
        if n in wanted:
            heads[n] = head
    is_on_path = all(heads.get(point.n, point.head) == point.head for point in told)
    if not is_on_path or pages[-1].head != LogPoint(n, head):
        raise LogFault("rewritten")
    at, restored = claims[-1].get("iat"), claims[-1].get("restored")
    return CheckedLog(
        pages[-1].base,
        pages[-1].head,
        numbers,
        heads,
        UnixTime(at if type(at) is int else 0),
        restored if type(restored) is int else None,
        pages[-1].signed,
    )


def head_of(token: str, owner: Owner) -> LogPoint | None:
    """The head in a token that one of the keys signed for this owner; None if none did."""
    claims = _signed_by_any(token, owner.keys)
    if not claims or (claims.get("iss"), claims.get("sub")) != (owner.inbox, owner.address):
        return None
    try:
        return _point(claims["head"])
    except (NotBase64Url, LookupError, TypeError, ValueError):
        return None


def _claims(page: _Page, nonce: str, owner: Owner) -> Mapping[str, Any]:
    """What the server signed of a page. Raises `LogFault`."""
    claims = _signed_by_any(page.signed, owner.keys)
    if claims is None:
        raise LogFault("other_key")
    if [claims.get(name) for name in ("nonce", "iss", "sub")] != [nonce, owner.inbox, owner.address]:
        raise LogFault("replayed")
    if claims.get("base") != _members(page.base) or claims.get("head") != _members(page.head):
        raise LogFault("rewritten")
    return claims


def _signed_by_any(token: str, keys: Iterable[str]) -> Mapping[str, Any] | None:
    for key in keys:
        try:
            return read_signed(token, parse_key(key), HEAD_TYPE)
        except NotSigned:
            continue
    return None


def _page(document: Mapping[str, Any]) -> _Page:
    try:
        entries = [(entry["n"], entry["id"]) for entry in document["entries"]]
        base, head, signed = _point(document["base"]), _point(document["head"]), document["signed"]
        is_whole = isinstance(signed, str) and all(type(n) is int and len(decode(id)) == _ID_BYTES for n, id in entries)
    except (NotBase64Url, LookupError, TypeError, ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise Unreachable("the server did not answer with a log")
    return _Page(base, head, entries, signed)


def _point(members: Mapping[str, Any]) -> LogPoint:
    """Raises ValueError and the like."""
    point = LogPoint(members["n"], decode(members["head"]))
    if type(point.n) is not int or point.n < 0 or len(point.head) != HEAD_BYTES:
        raise ValueError("is no point of a log")
    return point


def _members(point: LogPoint) -> dict[str, Any]:
    return {"n": point.n, "head": encode(point.head)}
