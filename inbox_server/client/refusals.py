"""What can go wrong with a request to an inbox server."""

from email.utils import parsedate_to_datetime
from typing import Any, Final

from inbox_server.client.http_sessions import Answer, seconds_of
from inbox_server.clock import UnixTime
from inbox_server.errors import CODES
from inbox_server.protocol.strict_json import NotStrict, parse_object

FOR_NOW: Final = frozenset({408, 425, 429})
"""Statuses that pass, as do all from 500."""
_TAKEN_AWAY: Final = "no_token"  # by a proxy: this client sends a token wherever one is needed
_PROBLEM_TYPE: Final = "application/problem+json"


class InboxRefused(Exception):
    """The server refused: the stable `code` of the protocol's table, and a text for people.

    `code` is "" when something other than an inbox server answered, such as a proxy.
    """

    def __init__(
        self, status: int, code: str, detail: str, retry_after: int | None = None, date: UnixTime | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.date = date
        """The server's time, from the header `Date`."""

    @property
    def is_final(self) -> bool:
        """Whether repeating the request is useless. Only a code of the protocol says so, never a status alone."""
        return self.code in CODES and self.code != _TAKEN_AWAY and self.status not in FOR_NOW and self.status < 500


class Unreachable(Exception):
    """No inbox server answered; the message says what happened instead."""


class Silent(Unreachable):
    """There is a connection, and nothing came over it for too long."""


class Problem(Exception):
    """A refusal with everything that the server said about it."""

    def __init__(self, refusal: InboxRefused, document: dict[str, Any]) -> None:
        super().__init__()
        self.refusal = refusal
        self.document = document


def problem_of(url: str, answer: Answer) -> Problem:
    """What an answer says that is no success."""
    try:
        document = parse_object(answer.body if answer.content_type == _PROBLEM_TYPE else b"")
    except NotStrict:
        document = {}
    code, detail = document.get("code"), document.get("detail")
    if not isinstance(code, str):  # a proxy, or something other than an inbox server
        code, detail = "", f"{url} answered {answer.status}, and not as an inbox server does."
    retry_after = seconds_of(answer.headers.get("Retry-After", ""))
    date = _date(answer.headers.get("Date", ""))
    return Problem(InboxRefused(answer.status, code, str(detail), retry_after, date), document)


def _date(text: str) -> UnixTime | None:
    try:
        return UnixTime(int(parsedate_to_datetime(text).timestamp()))
    except (ValueError, OverflowError):
        return None
