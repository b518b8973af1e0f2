"""A profile: a client's identity, its servers, and what it must remember from one run to the next."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.remembered import Remembered, parse_remembered, remembered_members
from inbox_server.client.sealed import Sealing, parse_sealing, sealing_members
from inbox_server.identity.names import is_origin, parse_name
from inbox_server.protocol.strict_json import NotStrict, parse_object

_VERSION: Final = 1
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MOST_MARKS: Final = 100  # days; no server keeps what was read for longer than its longest retention, 90 days
_MOST_TOLD: Final = 1000  # a page
_MOST_TO_ACK: Final = 100_000  # more than three inboxes hold together, at the servers' default of 10,000 each
_MOST_MISSED: Final = 1000


@dataclass(frozen=True, slots=True)
class Move:
    """An unfinished move. `settings` are those that the old inbox had before it was shut."""

    old: str
    new: str
    settings: Mapping[str, Any]
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """Origins have no slash at the end; `prefixes`, below which hubs let buckets be read, have one.

    `allow`: origins that others' cards and profiles may lead to although they are not on the public web.
    `settings`: the last settings sent to the inboxes, because servers tell only how long lists are.
    """

    key: AppKey
    app: str
    hub: str
    prefixes: tuple[str, ...]
    name: str | None = None
    services: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    inboxes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    """The number of the last published card."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """The highest `seq` seen on others' cards, by bucket address."""
    cursors: Mapping[str, str] = field(default_factory=dict)
    """By inbox: the cursor up to which news has been reported."""
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Cursors by inbox and day since 1970. A move asks the oldest useful one what has been read since."""
    to_ack: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By inbox: entries that were read but not acknowledged there yet."""
    move: Move | None = None
    told: tuple[str, ...] = ()
    """Entries that were reported but are not yet behind every cursor, because a watch ended within a page."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Entries that could not be fetched, and the time since which their messages are missing; 0: unknown."""
    association: str | None = field(default=None, repr=False)
    """The token in which a private hub's user vouches for this bucket. It is sent only to the hub."""
    remembered: Remembered = field(default_factory=Remembered)
    """What audits need, and what reading without a server needs."""
    sealing: Sealing = field(default_factory=Sealing)
    """What sealed delivery needs."""

    @property
    def identity(self) -> str:
        """Who sends: the name, or the key itself."""
        return self.name or self.key.public

    @property
    def sources(self) -> tuple[str, ...]:
        """The inboxes to read from: those on the card, and the old one during a move."""
        old = (self.move.old,) if self.move and self.move.old not in self.inboxes else ()
        return self.inboxes + old

    def with_mark(self, inbox: str, day: int, cursor: str) -> "Profile":
        """A copy that keeps the first cursor of each day and drops the oldest days."""
        marks = {str(day): cursor} | dict(self.marks.get(inbox, {}))
        kept = dict(sorted(marks.items(), key=lambda mark: int(mark[0]))[-_MOST_MARKS:])
        return replace(self, marks={**self.marks, inbox: kept})

    def with_cursor(self, inbox: str, cursor: str) -> "Profile":
        return replace(self, cursors={**self.cursors, inbox: cursor})

    def with_told(self, ids: tuple[str, ...]) -> "Profile":
        return replace(self, told=tuple(dict.fromkeys(self.told + ids))[-_MOST_TOLD:])

    def with_missed(self, id: str, since: int) -> "Profile":
        rest = [(other, when) for other, when in self.missed.items() if other != id]
        return replace(self, missed=dict([*rest, (id, since)][-_MOST_MISSED:]))

    def without_missed(self, ids: Iterable[str]) -> "Profile":
        over = set(ids)
        return replace(self, missed={id: since for id, since in self.missed.items() if id not in over})

    def with_to_ack(self, ids: tuple[str, ...]) -> "Profile":
        """A copy with these noted for every inbox."""
        noted = self.without_missed(ids)
        for url in self.sources:
            noted = noted.with_to_ack_at(url, ids)
        return noted

    def with_to_ack_at(self, inbox: str, ids: Iterable[str]) -> "Profile":
        """A copy with these noted for one inbox."""
        noted = tuple(dict.fromkeys((*self.to_ack.get(inbox, ()), *ids)))[-_MOST_TO_ACK:]
        return replace(self, to_ack={**self.to_ack, inbox: noted})

    def with_remembered(self, change: Callable[[Remembered], Remembered]) -> "Profile":
        return replace(self, remembered=change(self.remembered))

    def with_acked(self, inbox: str, ids: tuple[str, ...]) -> "Profile":
        """A copy without these, which the inbox has acknowledged."""
        told = set(ids)
        left = tuple(id for id in self.to_ack.get(inbox, ()) if id not in told)
        rest = {url: noted for url, noted in self.to_ack.items() if url != inbox}
        return replace(self, to_ack={**rest, inbox: left} if left else rest)

    def without_sheets(self, inbox: str) -> "Profile":
        """A copy that does not know what sheets an inbox has: its server may have been restored."""
        return replace(self, sealing=self.sealing.without_given(inbox))

    def without_inbox(self, inbox: str) -> "Profile":
        """A copy that remembers nothing about an inbox."""
        return replace(
            self,
            inboxes=tuple(url for url in self.inboxes if url != inbox),
            cursors={url: cursor for url, cursor in self.cursors.items() if url != inbox},
            marks={url: marks for url, marks in self.marks.items() if url != inbox},
            to_ack={url: ids for url, ids in self.to_ack.items() if url != inbox},
            remembered=self.remembered.without_inbox(inbox),
        )


def render_profile(profile: Profile) -> bytes:
    move = profile.move
    members = {
        "version": _VERSION,
        "key": profile.key.secret.hex(),
        "app": profile.app,
        "name": profile.name,
        "hub": profile.hub,
        "prefixes": profile.prefixes,
        "services": profile.services,
        "allow": profile.allow,
        "inboxes": profile.inboxes,
        "settings": profile.settings,
        "association": profile.association,
        "seq": profile.seq,
        "seen": profile.seen,
        "cursors": profile.cursors,
        "marks": profile.marks,
        "to_ack": profile.to_ack,
        "move": move
        and {"old": move.old, "new": move.new, "settings": move.settings, "is_published": move.is_published},
        "told": profile.told,
        "missed": profile.missed,
        "remembered": remembered_members(profile.remembered),
        "sealing": sealing_members(profile.sealing),
    }
    return json.dumps(members, indent=2).encode() + b"\n"


def parse_profile(content: bytes) -> Profile:
    """Raises ValueError. Its message quotes nothing from the content, which holds a private key."""
    try:
        members = parse_object(content)
    except NotStrict as error:
        raise ValueError(f"is not a profile: it {error}") from None
    if members.pop("version", None) != _VERSION:
        raise ValueError(f"is not a profile of version {_VERSION}")
    try:
        members["key"] = AppKey.from_hex(members["key"])
        for name in ("prefixes", "services", "allow", "inboxes"):
            members[name] = tuple(members[name])
        members["told"] = tuple(members.get("told", ()))
        if "remembered" in members:
            members["remembered"] = parse_remembered(members["remembered"])
        if "sealing" in members:
            members["sealing"] = parse_sealing(members["sealing"])
        members["to_ack"] = {url: tuple(ids) for url, ids in members["to_ack"].items()}
        members["move"] = members["move"] and Move(**members["move"])
        profile = Profile(**members)
        check_profile(profile)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("is not a profile: a member is missing, unknown, or of the wrong type") from None
    return profile


def check_profile(profile: Profile) -> None:
    """Raises ValueError, which says what is wrong."""
    for origin in (profile.app, *profile.allow, *profile.inboxes):
        if not is_origin(origin):
            raise ValueError(f"{origin} is not an origin such as https://chat.example, without a slash at the end")
    for prefix in profile.prefixes:
        if not (prefix.startswith(("http://", "https://")) and prefix.endswith("/")):
            raise ValueError(f"{prefix} is not an http(s) URL that ends with a slash")
    if profile.association is not None and not _TOKEN.fullmatch(profile.association):
        raise ValueError("the association token is not a token of three parts, as a wallet makes it")
    if profile.name is not None:
        parse_name(profile.name)
