"""What one inbox lists for its owner, page by page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inbox_server.client.delivery import id_of
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.refusals import Unreachable
from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import NotBase64Url, decode

_PAGE: Final = 1000
_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as one inbox lists it. `id` is computed here, because a server could say another entry's."""

    id: str
    message_id: str
    expires: UnixTime


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the feed. `read` is what was read since; `notices` are from the inbox to its owner.

    `swapped`: the ids under which the server lists the text of another entry, which no honest server does.
    """

    messages: tuple[Listed, ...]
    read: tuple[str, ...]
    cursor: str
    more: bool
    notices: tuple[str, ...] = field(default=())
    swapped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """All that is unread at an inbox, and the cursor from which to go on; `swapped` as in its pages."""

    entries: tuple[Listed, ...]
    cursor: str
    swapped: tuple[str, ...] = ()


def parse_page(document: Mapping[str, Any]) -> Page:
    """Ignores unknown members. Raises ValueError."""
    try:
        messages = tuple(
            Listed(id_of(str(entry["message_id"])), str(entry["message_id"]), UnixTime(int(entry["expires"])))
            for entry in document["messages"]
        )
        said = [str(entry["id"]) for entry in document["messages"]]
        swapped = tuple(id for id, listed in zip(said, messages, strict=True) if id != listed.id)
        read, notices = (tuple(str(text) for text in document.get(name, ())) for name in ("read", "notices"))
        # One that is none would make another inbox refuse all that are acknowledged with it.
        ids = tuple(filter(_is_id, read))
        return Page(messages, ids, str(document["cursor"]), bool(document["more"]), notices, swapped)
    except (LookupError, TypeError, ValueError):
        raise ValueError("is not a page of a feed") from None


def _is_id(text: str) -> bool:
    try:
        return len(decode(text)) == _ID_BYTES
    except NotBase64Url:
        return False


async def page_of(inbox: Inbox, after: str | None, *, wait_seconds: int = 0) -> Page:
    """A page, which the server may hold for so long while it is empty. Raises the same as `Inbox.unread`."""
    try:
        return parse_page(await inbox.unread(after, _PAGE, wait_seconds=wait_seconds))
    except ValueError as error:
        raise Unreachable(f"{inbox.url} answered with what {error}") from None
