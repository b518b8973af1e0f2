"""What an inbox promises while its server is killed, as a plain model; every breach of it is a fault of one kind.

A client knows what it sent and what was answered, nothing else. From that follows what a list must, may and must not
hold; `Kind` says it as rules. What was sent and never answered may be there or not, until somebody sees which: from
then on it stays so. Moments are numbers that only grow, one series for each inbox.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from tests.support.requests import id_of

Kind = Literal[
    "lost",  # it was answered or listed, nobody acknowledged it, and it is not listed
    "returned",  # its acknowledgement was answered or seen, and it is listed
    "doubled",  # it is listed twice to one reader, read twice, or answered as new twice
    "misordered",  # it is listed behind an entry that was first sent after it was answered
    "invented",  # it is listed, read or answered as a repeat, and nobody did that; or it is not what was sent
    "respent",  # a ticket that was used delivered something else
    "apart",  # a device that kept its cursor knows other entries than a new list holds
    "miscounted",  # the inbox's own counts are not those of its list
    "refused",  # an answer that a living server has no reason for
    "dropped",  # a request without an answer, of a living server
    "unclean",  # a stop by SIGTERM that took too long or failed
    "damaged",  # the database fails its integrity check
]
Moment = int
_TOLD: Final = 20  # of the faults, in words: the first ones matter


@dataclass(slots=True)
class Faults:
    """How many of each kind, and the first ones in words."""

    counts: Counter[Kind] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, kind: Kind, what: str) -> None:
        self.counts[kind] += 1
        if len(self.told) < _TOLD:
            self.told.append(f"{kind}: {what}")

    def line(self) -> str:
        return ", ".join(f"{kind} {self.counts[kind]}" for kind in get_args(Kind))


@dataclass(slots=True)
class Entry:
    """One message ID. None: that did not happen, as far as anybody knows."""

    sent: Moment | None = None
    """First sent, since it was last seen not to be there."""
    stored: Moment | None = None
    """First known to be stored: answered, or listed."""
    expires: int | None = None
    ack_sent: Moment | None = None
    """First acknowledged, since it was last seen still to be there."""
    gone: Moment | None = None
    """First known to be acknowledged: answered, told as read, or not listed any more."""


class Ledger:
    """What was sent to one inbox, and what is known of it. Ids are the model's own: the hash of the text."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._entries: dict[str, Entry] = {}
        self._kept: dict[str, Entry] = {}
        """Those that are stored and that nobody acknowledged: every list must hold them."""
        self._moments = itertools.count(1)

    def now(self) -> Moment:
        return next(self._moments)

    def send(self, text: str) -> Moment:
        """A delivery goes out; its moment."""
        now, entry = self.now(), self._entries.setdefault(id_of(text), Entry())
        if entry.sent is None:
            entry.sent = now
        return now

    def delivered(self, text: str, asked: Moment, receipt: Mapping[str, Any], *, new: bool) -> None:
        """The delivery that went out at `asked` was answered."""
        id = id_of(text)
        entry = self._entries[id]
        if new and entry.stored is not None and entry.stored < asked:
            self.faults.add("doubled", f"{text[:20]} was answered as new, though it was stored before")
        if not new and entry.sent == asked:
            self.faults.add("invented", f"{text[:20]} was answered as a repeat, though it was sent once")
        self._store(id, entry, receipt)

    def send_ack(self, ids: Sequence[str]) -> None:
        now = self.now()
        for id in ids:
            entry = self._entries[id]
            if entry.ack_sent is None:
                entry.ack_sent = now
            self._kept.pop(id, None)

    def acknowledged(self, ids: Sequence[str]) -> None:
        """An acknowledgement of these was answered."""
        for id in ids:
            self._end(self._entries[id])

    def read(self, id: str) -> None:
        """A device was told that somebody read this."""
        entry = self._entries.get(id)
        if entry is None or entry.ack_sent is None:
            self.faults.add("invented", f"{id} is told as read, and nobody acknowledged it")
        else:
            self._end(entry)

    def listed(self, listed: Mapping[str, Any], asked: Moment) -> Entry | None:
        """An entry as it stands in a page that was asked for at `asked`; what is known of it."""
        text: str = listed["message_id"]
        id = id_of(text)
        entry = self._entries.get(id)
        if entry is None or entry.sent is None:
            self.faults.add("invented", f"{text[:20]} is listed, and nobody sent it")
            return None
        if entry.gone is not None and entry.gone < asked:
            self.faults.add("returned", f"{text[:20]} is listed, and was acknowledged")
        self._store(id, entry, listed)
        return entry

    def kept(self, before: Moment) -> list[str]:
        """The ids that every list asked for at this moment must hold."""
        return [id for id, entry in self._kept.items() if entry.stored is not None and entry.stored < before]

    def stored(self) -> list[str]:
        """All ids that are known to have been stored."""
        return [id for id, entry in self._entries.items() if entry.stored is not None]

    def settle(self, listed: Collection[str]) -> None:
        """These ids are all that is listed, and no request is under way: what was uncertain is decided."""
        now = self.now()
        for id, entry in self._entries.items():
            if id in listed and entry.gone is None:
                entry.ack_sent = None
                self._kept[id] = entry
            elif id not in listed and entry.stored is None:
                entry.sent = None
            elif id not in listed and entry.ack_sent is not None and entry.gone is None:
                entry.gone = now

    def _store(self, id: str, entry: Entry, said: Mapping[str, Any]) -> None:
        if said["id"] != id or entry.expires not in (None, said["expires"]):
            self.faults.add("invented", f"{id} is said to be {said}")
        entry.expires = said["expires"]
        if entry.stored is None:
            entry.stored = self.now()
            if entry.ack_sent is None:
                self._kept[id] = entry

    def _end(self, entry: Entry) -> None:
        if entry.gone is None:
            entry.gone = self.now()


class Reading:
    """One reading of an inbox's feed, from its start and page by page: a list, or the life of a device."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.cursor: str | None = None
        self.unread: dict[str, str] = {}
        """The texts by their ids, in the order of the feed."""
        self._seen: set[str] = set()
        self._read: set[str] = set()
        self._newest: Moment = 0
        """When the newest of the entries so far was first sent."""

    def take(self, page: Mapping[str, Any], asked: Moment) -> bool:
        """The page after `cursor`, asked for at `asked`; whether there are more."""
        for listed in page["messages"]:
            self._take_entry(listed, asked)
        for id in page.get("read", ()):
            self._take_read(id)
        if not page["more"]:
            for id in self.ledger.kept(asked):
                if id not in self.unread:
                    self.ledger.faults.add("lost", f"{id} is not listed")
        self.cursor = page["cursor"]
        return bool(page["more"])

    def check_whole(self) -> None:
        """That it was given, or told as read, all that was ever stored: it began before the first delivery."""
        for id in self.ledger.stored():
            if id not in self._seen and id not in self._read:
                self.ledger.faults.add("lost", f"{id} was never told to one who only follows")

    def _take_entry(self, listed: Mapping[str, Any], asked: Moment) -> None:
        entry, text = self.ledger.listed(listed, asked), listed["message_id"]
        if entry is None or entry.sent is None or entry.stored is None:
            return
        id = id_of(text)
        if id in self._seen:
            self.ledger.faults.add("doubled", f"{text[:20]} is listed twice")
        if id in self._read:
            self.ledger.faults.add("returned", f"{text[:20]} is listed, and was told as read")
        if entry.stored < self._newest:
            self.ledger.faults.add("misordered", f"{text[:20]} is listed behind one that was sent later")
        self._newest = max(self._newest, entry.sent)
        self._seen.add(id)
        self.unread[id] = text

    def _take_read(self, id: str) -> None:
        self.ledger.read(id)
        if id in self._read:
            self.ledger.faults.add("doubled", f"{id} is told as read twice")
        self._read.add(id)
        self.unread.pop(id, None)
