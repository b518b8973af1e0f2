"""What a client reports: the result at each inbox, and the entries and messages that it found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inbox_server.client.audit.findings import Finding
from inbox_server.client.outbox import Waiting
from inbox_server.client.tokens_and_cards import Pointer
from inbox_server.clock import UnixTime


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of asking one inbox: `done`, `refused` for good, or `later`, which the client repeats by itself.

    `code` is the server's, `unreachable`, `claimed` when an inbox is new, or `claimed_again` when an inbox that this
    owner's devices have checked is new, because its operator deleted or lost it. `detail` is for people. `answer` is
    the server's answer when it was done. `receipt`: `kept`, if the server gave one for a delivery and it holds; what
    is wrong with it, if not; empty if none was asked for. `way`: how a message was delivered: `sealed`, with a ticket
    that does not say who sends it; `signed`; or `signed, first contact`, before it is known that we have tickets.
    """

    inbox: str
    state: Literal["done", "refused", "later"]
    code: str = ""
    detail: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict)
    receipt: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of sending a message, for each inbox of the recipient. It has arrived once one of them stored it.

    `index`: what kept the index in the own bucket from being written, which the next send repeats; or nothing.
    `is_linked`: the pointer has its number; if not, the app's or the bucket's URL is too long for it.
    """

    message: str
    recipient: str
    outcomes: tuple[Outcome, ...]
    index: str = ""
    is_linked: bool = True

    @property
    def stored(self) -> tuple[str, ...]:
        return tuple(outcome.inbox for outcome in self.outcomes if outcome.state == "done")

    @property
    def is_everywhere(self) -> bool:
        return len(self.stored) == len(self.outcomes)


@dataclass(frozen=True, slots=True)
class Entry:
    """One unread message ID, merged from the inboxes that list it.

    `ids` has more than one when a sender delivered one message twice, encrypted differently. `pointer` is only the
    writer's claim until `fetch` has checked it; None if it cannot be decrypted.
    """

    ids: tuple[str, ...]
    pointer: Pointer | None
    expires: UnixTime
    inboxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unread:
    """What is unread, oldest first, and how each inbox answered. One that did not answer is read later.

    `taken_over`: the inboxes on the own card, if an inbox was gone because another device had moved it to these.
    `without_server`: no inbox answered, and the entries are what contacts' buckets say that they sent.
    """

    entries: tuple[Entry, ...]
    outcomes: tuple[Outcome, ...]
    taken_over: tuple[str, ...] = ()
    without_server: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """The inboxes that answered. What is unread at the others is unknown."""
        return tuple(outcome.inbox for outcome in self.outcomes if outcome.state == "done")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was fetched and verified: the key of `sender`'s bucket signed it."""

    id: str
    sender: str
    key: str
    content: str | bytes


@dataclass(frozen=True, slots=True)
class Arrived:
    """News: an entry that was not reported before, or one that could not be fetched and is worth another try.

    `without_server`: no inbox has shown it; it is in the index in its sender's bucket.
    """

    entry: Entry
    is_again: bool = False
    without_server: bool = False


@dataclass(frozen=True, slots=True)
class WithoutServer:
    """News: no inbox answers, so contacts' buckets were read, and so many new entries were found there."""

    found: int


@dataclass(frozen=True, slots=True)
class WasRead:
    """News: an entry was read, here or on another device."""

    id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """News: an inbox has something to say to its owner, such as `inbox_full`."""

    inbox: str
    notice: str


@dataclass(frozen=True, slots=True)
class Connection:
    """News: the client follows an inbox now, or cannot and tries again after `again_seconds`."""

    inbox: str
    is_up: bool
    detail: str = ""
    again_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Renewed:
    """News: the own card would have expired soon, and was renewed under this number."""

    seq: int


@dataclass(frozen=True, slots=True)
class SheetsWait:
    """News: no tickets are given to new contacts for now, and why. Those that were given stay good."""

    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit, and as news one that somebody should know of.

    `entries` and `receipts`: how many entries of logs, and contacts' receipts, were looked at. `found`: what an inbox
    does not show, and a contact's index has; `fetch` reads it. `unread_indexes`: whose could not be read, and why.
    `taken_over`: as for `Unread`.
    """

    findings: tuple[Finding, ...]
    entries: int = 0
    receipts: int = 0
    found: tuple[Entry, ...] = ()
    unread_indexes: tuple[tuple[str, str], ...] = ()
    taken_over: tuple[str, ...] = ()

    @property
    def is_accusation(self) -> bool:
        return any(finding.is_accusation for finding in self.findings)

    @property
    def is_in_order(self) -> bool:
        """Not if something was found elsewhere: perhaps its sender has not reached an inbox yet."""
        return not (self.findings or self.found or self.unread_indexes)


News = Arrived | WasRead | Notice | Connection | Sent | Renewed | SheetsWait | WithoutServer | Audit


def report_of(waiting: Waiting) -> Sent:
    states: dict[str, Literal["done", "refused", "later"]] = {
        "stored": "done",
        "refused": "refused",
        "waiting": "later",
    }
    outcomes = tuple(
        Outcome(
            url,
            states[place.state],
            place.code,
            place.detail,
            receipt=place.fault or ("kept" if place.receipt else ""),
            way="signed, first contact" if place.way == "signed" and place.per else place.way,
        )
        for url, place in waiting.places.items()
    )
    return Sent(waiting.message, waiting.recipient, outcomes)
