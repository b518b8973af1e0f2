"""The wire format of feed pages: cursors, query parameters, and the page as JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from inbox_server.errors import Refused
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.requests import bad_request
from inbox_server.store.contract import ENTRY_JSON, Cursor, Page, ReadyEntries, Unread

DEFAULT_PAGE_ENTRIES: Final = 100
MAX_PAGE_ENTRIES: Final = 1000
PART_ENTRIES: Final = 100  # a longer page is read and sent in parts of this size: larger ones would delay others
MAX_EVENT_ENTRIES: Final = 100  # 113 KB with the longest IDs; aiohttp clients accept no line over 128 KiB
MAX_WAIT_SECONDS: Final = 55  # proxies give up on an answer after 60
PAGE_START: Final = b'{"messages":['
_GENERATION_BYTES: Final = 8
_CHANGE_BYTES: Final = 8
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")  # printable ASCII without quote and backslash
_MOST: Final = (1 << 63) - 1  # the largest integer in SQLite; every inbox has less, so the store refuses it as ahead


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page: after a cursor or from the start, how many entries, and how many seconds to hold an empty answer."""

    after: Cursor | None
    limit: int
    wait: int = 0


@dataclass(frozen=True, slots=True)
class AskedEvents:
    """Where a stream begins, how many entries an event has at most, and whether it ends after the first with any."""

    after: Cursor | None
    limit: int
    closes: bool


def parse_page_query(query: Mapping[str, str]) -> Asked:
    """What `GET /v1/messages` asks for. Raises `Refused`."""
    check_parameters(query, "after", "limit", "wait")
    wait = query.get("wait", "0")
    if not is_number(wait, 0, MAX_WAIT_SECONDS):
        raise bad_request("wait", f"must be a whole number of seconds from 0 to {MAX_WAIT_SECONDS}")
    after = parse_cursor(query["after"]) if "after" in query else None
    return Asked(after, limit_of(query), int(wait))


def parse_events_query(query: Mapping[str, str], last_event_id: str | None) -> AskedEvents:
    """What `GET /v1/events` asks for. Raises `Refused`."""
    check_parameters(query, "closeafter", "limit")
    closes = query.get("closeafter")
    if closes not in (None, "state"):
        raise bad_request("closeafter", "must be state")
    after = None if last_event_id is None else parse_cursor(last_event_id, member="Last-Event-ID")
    return AskedEvents(after, min(limit_of(query), MAX_EVENT_ENTRIES), closes is not None)


def write_cursor(cursor: Cursor) -> str:
    numbers = (cursor.change, cursor.listed_at)
    return encode(cursor.generation + b"".join(number.to_bytes(_CHANGE_BYTES, "big") for number in numbers))


def parse_cursor(text: str, *, member: str = "after") -> Cursor:
    """Raises `Refused` bad_cursor."""
    try:
        raw = decode(text)
    except NotBase64Url:
        raw = b""
    if len(raw) != _GENERATION_BYTES + 2 * _CHANGE_BYTES:
        raise Refused(
            "bad_cursor", f"`{member}` is not a cursor of this server. Send one exactly as it was given.", member=member
        )
    change = int.from_bytes(raw[_GENERATION_BYTES:-_CHANGE_BYTES], "big")
    listed_at = int.from_bytes(raw[-_CHANGE_BYTES:], "big")
    return Cursor(raw[:_GENERATION_BYTES], min(change, _MOST), min(listed_at, _MOST))


def page_json(page: Page, *, with_read: bool) -> bytes:
    """The page, joined from pieces that are already JSON. For 100 entries this takes a third of the time of `json`."""
    return PAGE_START + entries_json(page.messages) + page_end(page, page.read, with_read=with_read)


def entries_json(messages: tuple[Unread, ...] | ReadyEntries) -> bytes:
    """The entries, with commas between them."""
    if isinstance(messages, ReadyEntries):
        return messages.json
    return ",".join([_entry_json(entry) for entry in messages]).encode()


def page_end(page: Page, read: Iterable[bytes], *, with_read: bool) -> bytes:
    """What follows the entries."""
    ids = ",".join([f'"{encode(id)}"' for id in read])
    known = f',"read":[{ids}]' if with_read else ""
    more = "true" if page.more else "false"
    notices = f',"notices":{json.dumps(page.notices, separators=(",", ":"))}' if page.notices else ""
    return f']{known},"cursor":"{write_cursor(page.cursor)}","more":{more}{notices}}}'.encode()


def _entry_json(entry: Unread) -> str:
    before_id, before_message_id, before_expires, end = ENTRY_JSON
    message_id = _escaped(entry.message_id)
    return f"{before_id}{encode(entry.id)}{before_message_id}{message_id}{before_expires}{entry.expires}{end}"


def _escaped(text: str) -> str:
    """The inside of a JSON string. A delivered ID never needs escaping, but one that a failing disk has changed may."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)[1:-1]


def check_parameters(query: Mapping[str, str], *known: str) -> None:
    """Raises `Refused` for a parameter that is not known, or is there twice."""
    if not query.keys() <= set(known):
        raise bad_request("query", f"must hold nothing but {', '.join(known)}")
    if len(query) != len(set(query)):
        raise bad_request("query", "has the same parameter twice")


def limit_of(query: Mapping[str, str]) -> int:
    """How many entries are asked for. Raises `Refused`."""
    limit = query.get("limit", str(DEFAULT_PAGE_ENTRIES))
    if not is_number(limit, 1, MAX_PAGE_ENTRIES):
        raise bad_request("limit", f"must be a whole number from 1 to {MAX_PAGE_ENTRIES}")
    return int(limit)


def is_number(text: str, low: int, high: int) -> bool:
    """Whether this is a whole number within these bounds, with a few zeros before it at most."""
    return text.isascii() and text.isdigit() and len(text) <= max(4, len(str(high))) and low <= int(text) <= high
