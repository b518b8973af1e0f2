"""One inbox as docs/protocol.md and decision 3 promise it, in the plainest way: a dictionary, and a number as time.

It imports nothing of the server, so that a mistake there is not made here too. An answer is a status and a document;
of a refusal, only what a program may act on. Times are in seconds since 1970 UTC, sizes in bytes. People go by a word.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

Answer = tuple[int, dict[str, Any]]

DAY: Final = 86_400
HOUR: Final = 3600
STATUSES: Final = {
    "bad_token": 401,
    "not_accepted": 403,
    "no_inbox": 404,
    "stale_token": 409,
    "cursor_gone": 410,
    "ttl_passed": 422,
    "inbox_full": 507,
}


def refusal(code: str, **members: Any) -> Answer:
    return STATUSES[code], {"code": code, **members}


def id_of(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def granted_until(issued: int, ttl: int | None, retention: int) -> int:
    life = retention if ttl is None else min(ttl, retention)
    end = issued + life
    last_second = datetime.fromtimestamp(end, UTC).replace(hour=23, minute=59, second=59)
    return end if life < DAY else int(last_second.timestamp())


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the configuration."""

    entries: int
    bytes: int
    default_retention: int
    max_retention: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as signed by `sender`, at `issued`."""

    sender: str
    owner: str
    app: str
    text: str
    ttl: int | None
    issued: int


@dataclass(frozen=True, slots=True)
class Change:
    """A request for settings as signed by `owner`, at `issued`; without `settings` it gives the inbox up."""

    owner: str
    app: str
    settings: dict[str, Any] | None
    issued: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a cursor means: all changes up to `after` were told, by a list that was begun when `began` was the last."""

    generation: int
    after: int
    began: int


@dataclass(slots=True)
class Entry:
    """A delivery, or what is remembered of it once it was read."""

    text: str
    change: int
    read: bool
    expires: int
    forget_at: int


@dataclass(slots=True)
class Inbox:
    """One claimed inbox. `horizon` is the last change that was forgotten though a device may not have heard of it."""

    limits: Limits
    generation: int
    app: str
    retention: int
    settings_at: int
    last: dict[str, Any] | None = None
    accept: str = "names"
    contacts: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    known: dict[str, Entry] = field(default_factory=dict)
    change: int = 0
    horizon: int = 0
    refused: bool = False
    log: list[tuple[str, int]] = field(default_factory=list)
    """The ids in the log, and until when each stays there at least."""
    restored: int | None = None

    def takes(self, delivery: Delivery) -> bool:
        """Whether the owner's policy lets it in; its sender is a bare key."""
        if delivery.app != self.app:
            return False
        if delivery.sender == delivery.owner:
            return True
        welcome = self.accept == "anyone" or (self.accept == "contacts" and delivery.sender in self.contacts)
        return welcome and delivery.sender not in self.blocked

    def deliver(self, text: str, granted: int, now: int) -> Answer:
        known = self.known.get(id_of(text))
        before = known.expires if known else 0
        status, document = answer = self._deliver(text, granted, now)
        if status == 201 or (status == 200 and document["expires"] > before):
            self._log(document["id"], document["expires"], now)
        return answer

    def _log(self, id: str, expires: int, now: int) -> None:
        """What lives until the last second of a day that has not begun."""
        if granted_until(expires, DAY, DAY) == expires + DAY and expires // DAY > now // DAY:
            self.log.append((id, max(expires, granted_until(now, DAY, DAY) - DAY + self.limits.max_retention)))

    def logged(self, now: int) -> tuple[list[str], int | None]:
        """The ids in the log, and the day on which a copy was put back, if that is told."""
        told = self.restored is not None and (self.restored + 1) * DAY + self.limits.max_retention > now
        return [id for id, _ in self.log], self.restored if told else None

    def _deliver(self, text: str, granted: int, now: int) -> Answer:
        id = id_of(text)
        known = self.known.get(id)
        if known and known.expires > now:
            if granted > known.expires:
                known.expires, known.forget_at = granted, max(known.forget_at, granted)
                known.change = known.change if known.read else self._next()
            return 200, {"id": id, "expires": known.expires}
        if known and not known.read:
            self._drop(id)
        if not self._make_room(len(text), now):
            return refusal("inbox_full")
        if known and known.read:
            known.expires, known.forget_at = granted, max(known.forget_at, granted)
        else:
            self.known[id] = Entry(text, self._next(), read=False, expires=granted, forget_at=granted)
        return 201, {"id": id, "expires": granted}

    def acknowledge(self, text: str, now: int) -> None:
        known = self.known.get(id_of(text))
        if known is None:
            forget_at = now + self.limits.max_retention
            self.known[id_of(text)] = Entry(text, self._next(), read=True, expires=0, forget_at=forget_at)
        elif not known.read:
            known.read, known.change, known.forget_at = True, self._next(), max(known.expires, now + HOUR)
            self.refused = False

    def page(self, place: Place | None, limit: int, now: int) -> tuple[Answer, Place | None]:
        """The answer without its cursor, and what the cursor means."""
        if place and (place.generation != self.generation or self.horizon > max(place.after, place.began)):
            return refusal("cursor_gone"), None
        after, began = (place.after, place.began) if place else (0, self.change)
        due = sorted(
            (each for each in self.known.values() if each.change > after and self._is_told(each, began, now)),
            key=lambda each: each.change,
        )
        shown, more = due[:limit], len(due) > limit
        document: dict[str, Any] = {
            "messages": [
                {"id": id_of(each.text), "message_id": each.text, "expires": each.expires}
                for each in shown
                if not each.read
            ],
            "more": more,
        }
        if place:
            document["read"] = [id_of(each.text) for each in shown if each.read]
        if self.refused:
            document["notices"] = ["inbox_full"]
        reached = shown[-1].change if more else self.change
        return (200, document), Place(self.generation, reached, max(reached, began))

    def settings(self) -> dict[str, Any]:
        unread = self._unread()
        return {
            "retention": self.retention,
            "accept": self.accept,
            "contacts": len(self.contacts),
            "blocked": len(self.blocked),
            "names": 0,
            "unread": len(unread),
            "read": len(self.known) - len(unread),
            "quota": {
                "entries": self.limits.entries,
                "bytes": self.limits.bytes,
                "bytes_used": sum(len(each.text) for each in unread),
                "read_entries": 50_000,
            },
            "push": 0,
            "webhook": 0,
            "tickets": [],
            "notices": ["inbox_full"] if self.refused else [],
        }

    def settle(self, change: Change) -> None:
        assert change.settings is not None
        self.settings_at, self.last = max(self.settings_at, change.issued), change.settings
        self.retention = change.settings.get("retention", self.retention)
        self.accept = change.settings.get("accept", self.accept)
        self.contacts = frozenset(change.settings.get("contacts", self.contacts))
        self.blocked = frozenset(change.settings.get("blocked", self.blocked))

    def sweep(self, now: int) -> None:
        for id in [id for id, known in self.known.items() if known.forget_at <= now]:
            self._drop(id)
        while self.log and self.log[0][1] <= now:
            self.log.pop(0)

    def _is_told(self, each: Entry, began: int, now: int) -> bool:
        return each.change > began if each.read else each.expires > now

    def _unread(self) -> list[Entry]:
        """With what has expired and was not swept yet."""
        return [each for each in self.known.values() if not each.read]

    def _make_room(self, size: int, now: int) -> bool:
        if not self._has_room(size):
            for gone in [each for each in self._unread() if each.expires <= now]:
                self._drop(id_of(gone.text))
            self.refused = self.refused or not self._has_room(size)
        return self._has_room(size)

    def _has_room(self, size: int) -> bool:
        unread = self._unread()
        used = sum(len(each.text) for each in unread)
        return len(unread) < self.limits.entries and used + size <= self.limits.bytes

    def _drop(self, id: str) -> None:
        gone = self.known.pop(id)
        if gone.read:
            self.horizon = max(self.horizon, gone.change)
        else:
            self.refused = False

    def _next(self) -> int:
        self.change += 1
        return self.change
