"""What a profile remembers so that no server can hide anything: receipt keys, pairs, people, what was listed."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from inbox_server.client.pairs import SHORT_BYTES
from inbox_server.protocol.base64url import decode, encode

_MOST_KEYS: Final = 5  # of one inbox: a server that changes its secret has another one
_MOST_PAIRS: Final = 1000
_MOST_PEOPLE: Final = 1000
_MOST_GAPS: Final = 100
_MOST_LISTED: Final = 2000  # of one inbox, since the last audit
_MOST_READ: Final = 2000


@dataclass(frozen=True, slots=True)
class Written:
    """What was written to one key: the last `n`, the short hash of that pointer, and the week of the last index."""

    n: int
    last: bytes = bytes(SHORT_BYTES)
    week: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose messages came: who they say they are, their bucket if they are a bare key, and when the last came.

    `n` is the highest number of theirs that was fetched here, and `gaps` are those below that were not.
    """

    identity: str
    url: str = ""
    n: int = 0
    gaps: tuple[int, ...] = ()
    at: int = 0

    def with_number(self, n: int) -> "Person":
        if n <= self.n:
            return replace(self, gaps=tuple(gap for gap in self.gaps if gap != n))
        skipped = tuple(range(max(self.n + 1, n - _MOST_GAPS), n)) if self.n else ()
        return replace(self, n=n, gaps=(self.gaps + skipped)[-_MOST_GAPS:])


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit on this device: up to which `n`, when by the server's clock and by ours, and the cursor from there.

    `since`: which log that was (`Checkpoint.since`).
    """

    n: int
    at: int
    here: int
    cursor: str
    since: int


@dataclass(frozen=True, slots=True)
class Remembered:
    receipt_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By inbox: the keys that the own card has named, newest first."""
    written: Mapping[str, Written] = field(default_factory=dict)
    """By the recipient's key."""
    people: Mapping[str, Person] = field(default_factory=dict)
    """By the sender's key."""
    listed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By inbox: what was listed since the last audit, and until when it must be in the log (0: it need not be)."""
    audited: Mapping[str, Audited] = field(default_factory=dict)
    """By inbox."""
    begun: Mapping[str, int] = field(default_factory=dict)
    """By inbox: when this device claimed it anew. A checkpoint of an earlier log is not used."""
    read: Mapping[str, int] = field(default_factory=dict)
    """What was read, and until when it may be listed again."""

    def with_receipt_key(self, inbox: str, key: str) -> "Remembered":
        keys = tuple(dict.fromkeys((key, *self.receipt_keys.get(inbox, ()))))[:_MOST_KEYS]
        return replace(self, receipt_keys={**self.receipt_keys, inbox: keys})

    def with_written(self, recipient: str, written: Written) -> "Remembered":
        rest = {key: known for key, known in self.written.items() if key != recipient}
        return replace(self, written=_newest({**rest, recipient: written}, _MOST_PAIRS))

    def with_person(self, key: str, person: Person) -> "Remembered":
        rest = {known: other for known, other in self.people.items() if known != key}
        return replace(self, people=_newest({**rest, key: person}, _MOST_PEOPLE))

    def with_listed(self, inbox: str, ids: Mapping[str, int]) -> "Remembered":
        known = self.listed.get(inbox, {})
        return replace(self, listed={**self.listed, inbox: _newest({**known, **ids}, _MOST_LISTED)})

    def with_read(self, ids: Iterable[str], until: int, now: int) -> "Remembered":
        kept = {id: end for id, end in self.read.items() if end > now}
        return replace(self, read=_newest({**kept, **dict.fromkeys(ids, until)}, _MOST_READ))

    def with_audited(self, inbox: str, audited: Audited, left: Mapping[str, int]) -> "Remembered":
        """A copy after an audit, which leaves these of what was listed to the next one."""
        return replace(self, audited={**self.audited, inbox: audited}, listed={**self.listed, inbox: dict(left)})

    def without_gaps(self) -> "Remembered":
        """A copy after an audit, which has looked for what the gaps in people's numbers stand for."""
        return replace(self, people={key: replace(person, gaps=()) for key, person in self.people.items()})

    def with_begun(self, inbox: str, since: int) -> "Remembered":
        """A copy that has seen nothing of the log that begins."""
        return replace(self.without_inbox(inbox), begun={**self.begun, inbox: since})

    def without_inbox(self, inbox: str) -> "Remembered":
        """A copy that has seen nothing of an inbox; its keys stay, because receipts by them may come later."""
        return replace(
            self,
            listed={url: ids for url, ids in self.listed.items() if url != inbox},
            audited={url: audited for url, audited in self.audited.items() if url != inbox},
        )


def remembered_members(remembered: Remembered) -> dict[str, Any]:
    """For the profile's JSON."""
    return {
        "receipt_keys": remembered.receipt_keys,
        "written": {key: {**asdict(each), "last": encode(each.last)} for key, each in remembered.written.items()},
        "people": {key: asdict(person) for key, person in remembered.people.items()},
        "listed": remembered.listed,
        "audited": {inbox: asdict(audited) for inbox, audited in remembered.audited.items()},
        "begun": remembered.begun,
        "read": remembered.read,
    }


def parse_remembered(members: Mapping[str, Any]) -> Remembered:
    """Raises KeyError, TypeError, ValueError or AttributeError."""
    return Remembered(
        {inbox: tuple(keys) for inbox, keys in members["receipt_keys"].items()},
        {key: Written(**{**each, "last": decode(each["last"])}) for key, each in members["written"].items()},
        {key: Person(**{**each, "gaps": tuple(each["gaps"])}) for key, each in members["people"].items()},
        {inbox: dict(ids) for inbox, ids in members["listed"].items()},
        {inbox: Audited(**each) for inbox, each in members["audited"].items()},
        dict(members["begun"]),
        dict(members["read"]),
    )


def _newest(known: Mapping[str, Any], most: int) -> dict[str, Any]:
    return dict([*known.items()][-most:])
