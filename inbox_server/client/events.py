"""Server-sent events (WHATWG HTML, section 9.2), as the feed of an inbox has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MAX_EVENT_BYTES: Final = 4 << 20  # a page of 1,000 entries has about 1.1 MB


class BadStream(OSError):
    """The server sent something that is not an event stream."""


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is the last ID so far, or "" before the first; `data` is the event's data lines, joined."""

    id: str
    kind: str
    data: str


class EventReader:
    """Parses a stream's bytes into events, however the bytes are split. It skips comments."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._kind = "message"
        self._data: list[str] = []
        self._data_characters = 0

    def read(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete. Raises `BadStream`."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise BadStream("the stream has a line that is too long")
        for line in lines:
            try:
                event = self._read_line(line.removesuffix(b"\r").decode())
            except UnicodeDecodeError:
                raise BadStream("the stream is not UTF-8") from None
            if event:
                yield event

    def _read_line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._id, self._kind, "\n".join(self._data)) if self._data else None
            self._kind, self._data, self._data_characters = "message", [], 0
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._id = value
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
            self._data_characters += len(value)
            if self._data_characters > _MAX_EVENT_BYTES:
                raise BadStream("the stream has an event that is too long")
        return None
