"""What a server answered, and what was expected instead."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.checks.asking import Answer
from inbox_server.checks.results import quoted
from inbox_server.conformance.cases import Failed

_PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what was asked: `POST /v1/messages`, say."""

    asked: str
    answer: Answer

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def members(self) -> Mapping[str, Any]:
        return self.answer.members

    @property
    def headers(self) -> Mapping[str, str]:
        return self.answer.headers

    @property
    def code(self) -> str:
        """The refusal's code; empty for anything that is not a problem document."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        code = self.members.get("code") if self.status >= 400 and kind == _PROBLEM else None
        return code if isinstance(code, str) else ""

    @property
    def told(self) -> str:
        member = self.members.get("member")
        about = f" ({quoted(member)})" if member else ""
        return f"{self.status} {quoted(self.code)}".strip() + about

    def expect(self, *statuses: int, why: str = "") -> "Reply":
        """Itself. Raises `Failed` if it has another status."""
        if self.status not in statuses:
            raise Failed(f"{self._what(why)}: answered {self.told}, not {' or '.join(map(str, statuses))}")
        return self

    def refused(self, *codes: str, member: str | Sequence[str] = (), why: str = "") -> "Reply":
        """Itself. Raises `Failed` unless it is a refusal with one of these codes, and names one of these members."""
        members = (member,) if isinstance(member, str) else tuple(member)
        if self.code not in codes:
            raise Failed(f"{self._what(why)}: answered {self.told}, not {' or '.join(codes)}")
        if members and self.members.get("member") not in members:
            raise Failed(f"{self._what(why)}: {self.told} does not name {' or '.join(members)}")
        return self

    def text(self, member: str) -> str:
        """A member that must be a string. Raises `Failed`."""
        value = self.members.get(member)
        if not isinstance(value, str):
            raise Failed(f"{self.asked}: the answer's {member} is not a string")
        return value

    def number(self, member: str) -> int:
        """A member that must be an integer. Raises `Failed`."""
        value = self.members.get(member)
        if type(value) is not int:
            raise Failed(f"{self.asked}: the answer's {member} is not an integer")
        return value

    def _what(self, why: str) -> str:
        return f"{self.asked}, {why}" if why else self.asked


@dataclass(frozen=True, slots=True)
class Entry:
    """An unread entry as it is listed; `expires` is in seconds since 1970."""

    id: str
    message_id: str
    expires: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the feed. `read` is None when the member is not there."""

    messages: tuple[Entry, ...]
    read: tuple[str, ...] | None
    cursor: str
    more: bool
    notices: tuple[str, ...] | None

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.messages]

    @property
    def is_empty(self) -> bool:
        return not (self.messages or self.read)


def page_of(reply: Reply) -> Page:
    """The page in an answer to a list. Raises `Failed`."""
    return read_page(reply.expect(200).members, reply.asked)


def page_in(text: str, where: str) -> Page:
    """The page in an event's data. Raises `Failed`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    return read_page(document if isinstance(document, dict) else {}, where)


def read_page(document: Mapping[str, Any], where: str) -> Page:
    """Raises `Failed` if it is none."""
    messages, read, notices = document.get("messages"), document.get("read"), document.get("notices")
    if not isinstance(messages, list) or not all(isinstance(entry, dict) for entry in messages):
        raise Failed(f"{where}: `messages` is not a list of objects")
    entries = tuple(_entry(entry, where) for entry in messages)
    if read is not None and not _are_texts(read):
        raise Failed(f"{where}: `read` is not a list of ids")
    if notices is not None and not _are_texts(notices):
        raise Failed(f"{where}: `notices` is not a list of texts")
    cursor, more = document.get("cursor"), document.get("more")
    if not isinstance(cursor, str) or not cursor:
        raise Failed(f"{where}: `cursor` is not a text")
    if not isinstance(more, bool):
        raise Failed(f"{where}: `more` is neither true nor false")
    return Page(
        entries, None if read is None else tuple(read), cursor, more, None if notices is None else tuple(notices)
    )


def _entry(members: Mapping[str, Any], where: str) -> Entry:
    id, message_id, expires = (members.get(name) for name in ("id", "message_id", "expires"))
    if not isinstance(id, str) or not isinstance(message_id, str) or type(expires) is not int:
        raise Failed(f"{where}: an entry is not of `id`, `message_id` and `expires`")
    return Entry(id, message_id, expires)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
