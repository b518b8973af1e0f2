"""What a store promises. `tests/store/` runs the same tests for each store that `tests/support/stores.py` lists.

Inboxes, names, apps, addresses and invites come in as keyed hashes (`identity/keyed_hash.py`); a store never sees
them in the clear. All methods may raise `Unavailable`; a write that returned is on disk. A caller that
stops waiting for a write cannot know whether it was done, and repeats it.

This contract leaves to each store: opening, adding invites, copies, and inspecting. The rows that the demo shows are
SQLite's (`world/evidence.py`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.config.config import Config
from inbox_server.errors import CommandFailed, Refused
from inbox_server.inbox_log import LOG_ENTRIES, LogEntry, LogPoint
from inbox_server.store.operating import Operating

Accept = Literal["names", "anyone", "contacts", "nobody"]

TOMBSTONE_SECONDS: Final = 3600  # a sender may still repeat a delivery this long after it was read
FORGOTTEN_AT_ONCE: Final = 200  # when too many ids are remembered, at most this many of the oldest are dropped at once
WEEK_SECONDS: Final = 604_800
TICKET_SKEW_SECONDS: Final = 60  # a week's tickets are taken so long before it begins and after it ends
PROLONGED_SECONDS: Final = 3 * DAY_SECONDS  # a weekend, and a day to find it (docs/decisions/0010-outages.md)
ENTRY_JSON: Final = ('{"id":"', '","message_id":"', '","expires":', "}")
"""What an entry is listed with: before its id (in base64url), its message ID and its expiry, and at its end."""

Changed = Callable[[Collection[bytes]], None]
"""Called with the inboxes that a commit changed, after the caller that asked for the change has its answer."""

Committed = Callable[[int, float], None]
"""Called with the size of each commit and how many seconds it took."""


class BadDatabase(CommandFailed):
    """The database must not be used, or cannot be created; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one inbox may hold: unread entries, their bytes, tombstones, the entries of its log.

    `max_retention`, in seconds, is how long an unknown id that was acknowledged is remembered, and a log entry is kept.
    """

    entries: int
    bytes: int
    max_retention: int
    tombstones: int
    log: int = LOG_ENTRIES


def quota_of(config: Config) -> Quota:
    """What every inbox may hold to which the operator gave no quota of its own."""
    return Quota(config.inbox_entries, config.inbox_bytes, config.max_retention_seconds, config.inbox_read_entries)


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides about a delivery: the owner's policy, and whether this sender is on a list.

    `channels` are those by which the owner asked to be told that something waits.
    """

    app: bytes
    accept: Accept
    retention: int
    contact: bool
    blocked: bool
    channels: tuple[str, ...] = ()


class Ticket(NamedTuple):
    """What a delivery without a sender shows.

    `hash` is the keyed hash of its id, and `mark` that of the ticket and the entry that it is shown for, 16 bytes each.
    `weeks` are those whose tickets are taken now, in order.
    """

    hash: bytes
    mark: bytes
    weeks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """An owner's tickets of a week, as the keyed hashes of their ids."""

    week: int
    ids: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivered:
    """`new` is False for a repeat. `expires` is what the sender is told."""

    new: bool
    expires: UnixTime


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the change feed of one generation of one inbox.

    `listed_at` is the change number at which the list with this place began. Entries read up to there are not in the
    list, so their tombstones are no longer needed. It is at most `change` once the list is complete.
    """

    generation: bytes
    change: int
    listed_at: int


@dataclass(frozen=True, slots=True)
class Unread:
    """One unread entry. `id` is 32 bytes."""

    id: bytes
    message_id: str
    expires: UnixTime


@dataclass(frozen=True, slots=True)
class ReadyEntries:
    """Unread entries as they are listed: JSON objects with commas between them, each written as `ENTRY_JSON` says.

    A store that keeps them so may answer with these, and nobody takes them apart; another answers with `Unread`.
    """

    json: bytes
    count: int

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the feed, in order of change number. `more` means that the next page is not empty.

    `notices` are what the owner must know, whether or not anything else is new. `end` is the feed's last change number.
    """

    messages: tuple[Unread, ...] | ReadyEntries
    read: tuple[bytes, ...]
    cursor: Cursor
    more: bool
    notices: tuple[str, ...] = ()
    end: int = 0


@dataclass(frozen=True, slots=True)
class LogPage:
    """A part of the log, in order and without a gap, and the whole log's base and head at the same moment.

    `more` means that the entries do not reach the head. `restored` is the UTC day (since 1970) on which a copy was put
    back, if entries from before may be in the log.
    """

    base: LogPoint
    entries: tuple[LogEntry, ...]
    head: LogPoint
    more: bool
    restored: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What an owner sees of the inbox. Lists and names are kept as keyed hashes, so only their sizes are known."""

    retention: int
    accept: Accept
    contacts: int
    blocked: int
    names: int
    unread: int
    unread_bytes: int
    read: int
    """Read entries whose id is still remembered."""
    refused: bool
    subscriptions: Mapping[str, int]
    """How many there are of each channel that has any."""
    gone: tuple[str, ...]
    """The channels of which one was dropped since the owner last changed them."""
    suspended: bool = False
    """By the operator: nothing is delivered to it."""
    most_entries: int | None = None
    most_bytes: int | None = None
    """A quota that the operator set for this inbox; None is that of all inboxes."""
    sheets: tuple[int, ...] = ()
    """The weeks that have a sheet of tickets, in order."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Where an owner is told by one channel: a keyed hash of the address, and all of it sealed (`notify/sealing.py`).

    `channel` is its name in the protocol: lower-case letters. A store knows no list of them.
    """

    channel: str
    id: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What an owner asks for; None leaves a setting as it is. A new list replaces the old one."""

    app: bytes
    issued: UnixTime
    request: bytes
    retention: int | None = None
    accept: Accept | None = None
    contacts: tuple[bytes, ...] | None = None
    blocked: tuple[bytes, ...] | None = None
    names: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The condition for creating an inbox that does not exist yet."""

    generation: bytes
    """8 random bytes."""
    first_change: int
    """Random too, so that change numbers do not count an inbox's life."""
    first_log: LogPoint
    """Where the log begins; random for the same reason."""
    default_retention: int
    max_inboxes: int | None
    invite: bytes | None
    """None: no invite is needed. Otherwise it is used up, or the claim is refused."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a store: jobs that wait for a commit, and erased data that is not yet out of all files.

    `feed_ends`, `policies` and `sheets` are how many are known without a query; of sheets, for how many inboxes. A
    value that does not apply to a store is 0.
    """

    waiting: int
    remnants: int
    feed_ends: int
    policies: int
    sheets: int


@dataclass(frozen=True, slots=True)
class Totals:
    """How many entries all inboxes have: unread, and read but remembered. How many inboxes; how many are suspended."""

    unread: int
    read: int
    inboxes: int
    suspended: int


class Store(Protocol):
    @property
    def operating(self) -> Operating:
        """The same store as its operator uses it."""

    async def proven(self, name: bytes) -> bytes | None:
        """The inbox whose owner proved this name, if any."""

    async def policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        """What decides about a delivery by `sender` (hashed for this inbox); None when there is no such inbox."""

    def known_policy(self, inbox: bytes, sender: bytes) -> Policy | None:
        """What `policy` would answer, if it is known without a query; None also when it is not known.

        A store that cannot know it, because others write to the same database, returns None.
        """

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        """What decides about a delivery with a ticket, on nobody's behalf, whether the ticket was used or not.

        None when there is no such inbox, or the ticket is on no sheet of its.
        """

    def known_ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        """What `ticket_policy` would answer, if it is known without a query; None also when it is not known."""

    async def deliver(
        self,
        inbox: bytes,
        id: bytes,
        message_id: str,
        *,
        expires: UnixTime,
        now: UnixTime,
        ticket: Ticket | None = None,
    ) -> Delivered:
        """Keep an entry; the same `id` again is the same delivery.

        What is new, or lives longer than before, is logged if `inbox_log.is_logged` says so; nothing else ever is.
        With a `ticket`, only if it is on a sheet and unused, or was used for the same `mark`: else raises `Refused`
        not_accepted or ticket_spent. It counts as used once the entry is kept.

        Raises `Refused` inbox_full or not_accepted, and `Unavailable` draining.
        """

    async def unread(
        self, inbox: bytes, *, after: Cursor | None, limit: int, now: UnixTime, upto: int | None = None
    ) -> Page:
        """The unread entries, or with `after` what changed since. Raises `Refused` no_inbox or cursor_gone.

        With `upto`, the `end` of a page, only what had changed then: so several reads make one page.
        """

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        """The entries of the log after a number. Raises `Refused` no_inbox.

        The oldest go when their `expires` and `Quota.max_retention` since they were logged have passed, both to the end
        of the UTC day; and before that while there are more than `Quota.log`, of which so many stay.
        """

    def end(self, inbox: bytes) -> Cursor | None:
        """The end of the feed, if it is known without a query. Equal while nothing changes; no end comes twice.

        A store that cannot know it, because others write to the same database, returns None.

        So a reader who was told at this end that nothing is new may be told so again.
        """

    def load(self) -> Load: ...

    def limit(self, quota: Quota) -> None:
        """What an inbox may hold from now on. What is there already stays."""

    async def totals(self) -> Totals: ...

    async def acknowledge(self, inbox: bytes, ids: tuple[bytes, ...], *, now: UnixTime) -> None:
        """Mark entries as read and drop their text; an unknown id is remembered. Raises `Refused` no_inbox.

        When too many ids are remembered, the oldest are dropped, and cursors that have not seen them become invalid.
        """

    async def settings(self, inbox: bytes) -> Settings | None: ...

    async def settle(self, inbox: bytes, change: SettingsChange, *, admission: Admission | None, now: UnixTime) -> bool:
        """Change the settings; with an `admission`, create the inbox first if there is none, and return True.

        Raises `Refused` no_inbox, stale_token, bad_token (another app), not_registered or suspended, and `Unavailable`
        draining.
        """

    async def forget(self, inbox: bytes, *, issued: UnixTime, request: bytes) -> bool:
        """Drop the inbox and everything in it; False when there is none. Raises `Refused` stale_token."""

    async def subscribe(
        self, inbox: bytes, change: SettingsChange, subscription: Subscribed, *, most: int, now: UnixTime
    ) -> bool:
        """Keep a subscription; one of the same channel with the same `id` is replaced. `change` changes nothing else.

        False when the channel has `most` others: then nothing was changed. Raises `Refused` no_inbox, stale_token or
        bad_token (another app).
        """

    async def unsubscribe(
        self, inbox: bytes, change: SettingsChange, channel: str, id: bytes | None, *, now: UnixTime
    ) -> None:
        """Drop a subscription, or with None all of the channel. Raises as `subscribe`; it may be gone already."""

    async def subscriptions(self, inbox: bytes, channel: str) -> tuple[Subscribed, ...]: ...

    async def drop_subscription(self, inbox: bytes, subscription: Subscribed) -> None:
        """Drop one that the service behind the channel does not know any more.

        The owner gets the notice `{channel}_gone` until the subscriptions of this channel are next changed.
        """

    async def keep_sheet(self, inbox: bytes, change: SettingsChange, sheet: Sheet, *, now: UnixTime) -> None:
        """Keep the tickets of a week in place of those before; what was used stays so. Raises as `subscribe`."""

    async def sweep(self, now: UnixTime) -> None:
        """Drop what has expired, and remember that this time was seen."""

    async def seen(self) -> UnixTime | None:
        """The time of the newest sweep, to within some minutes; None when there was none."""

    async def prolong(self, since: UnixTime, now: UnixTime) -> None:
        """Keep for some more days what has a lifetime of a day or more and expired between the two; it is logged."""

    async def ping(self) -> None:
        """Raises `Unavailable` when the database cannot be read or written."""


def notices_of(*, refused: bool, suspended: bool, gone: Iterable[str]) -> tuple[str, ...]:
    """What an owner must know of an inbox.

    `inbox_full`: a delivery was refused for lack of room, and no room was made since. `suspended`: the operator lets
    nothing in. `{channel}_gone`: a subscription of this channel was dropped, and none was changed since.
    """
    by_name = {"inbox_full": refused, "suspended": suspended}
    return (*(name for name, there in by_name.items() if there), *(f"{channel}_gone" for channel in sorted(gone)))


def no_inbox() -> Refused:
    return Refused("no_inbox", "No inbox has been claimed with this key. Claim it with `PUT /v1/inbox`.")


def weeks_of(now: UnixTime) -> tuple[int, ...]:
    """The weeks whose tickets are taken now: one, and near its turn two."""
    first, last = (now - TICKET_SKEW_SECONDS) // WEEK_SECONDS, (now + TICKET_SKEW_SECONDS) // WEEK_SECONDS
    return (first,) if first == last else (first, last)
