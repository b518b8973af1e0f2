"""The wire format of an inbox's log: query parameters, and the answer as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.inbox_log import LogPoint
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.feed_json import check_parameters, is_number, limit_of
from inbox_server.protocol.requests import bad_request
from inbox_server.store.contract import LogPage

NONCE_BYTES: Final = 16
_MOST: Final = (1 << 53) - 1  # the largest whole number that every JSON library reads exactly


@dataclass(frozen=True, slots=True)
class AskedLog:
    """Which entries: those after a number, how many; and what the signature must repeat."""

    after: int
    limit: int
    nonce: str


def parse_log_query(query: Mapping[str, str]) -> AskedLog:
    """What `GET /v1/inbox/log` asks for. Raises `Refused`."""
    check_parameters(query, "after", "limit", "nonce")
    after = query.get("after", "0")
    if not is_number(after, 0, _MOST):
        raise bad_request("after", "must be the number of an entry, as it was listed")
    limit, nonce = limit_of(query), query.get("nonce", "")
    try:
        is_nonce = len(decode(nonce)) == NONCE_BYTES
    except NotBase64Url:
        is_nonce = False
    if not is_nonce:
        raise bad_request("nonce", f"must be {NONCE_BYTES} random bytes in base64url: 22 characters")
    return AskedLog(int(after), limit, nonce)


def log_json(page: LogPage, signed: str) -> bytes:
    """The answer."""
    entries = ",".join([f'{{"n":{n},"id":"{encode(id)}"}}' for n, id in page.entries])
    more = "true" if page.more else "false"
    ends = [f'{{"n":{point.n},"head":"{encode(point.head)}"}}' for point in (page.base, page.head)]
    return f'{{"base":{ends[0]},"entries":[{entries}],"more":{more},"head":{ends[1]},"signed":"{signed}"}}'.encode()


def point_document(point: LogPoint) -> dict[str, Any]:
    """A base or a head, in claims."""
    return {"n": point.n, "head": encode(point.head)}
