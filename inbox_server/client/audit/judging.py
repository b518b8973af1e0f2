"""What the log of one inbox shows when it is held against what was seen and against contacts' receipts. No I/O.

It accuses only of what an honest server never does. So it asks of each entry: must it still be in the log, and can it
have expired, or have been read by another device, before this one saw it?
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from inbox_server.client.audit.checkpoint import Checkpoint
from inbox_server.client.audit.findings import Finding, finding
from inbox_server.client.audit.log_check import CheckedLog, Owner
from inbox_server.client.index import IndexEntry, Receipt
from inbox_server.client.receipts import BadReceipt, Offers, Taken, check_receipt
from inbox_server.client.remembered import Audited
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.inbox_log import is_logged


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """What the index of `sender` says. `key` is theirs, `url` is their bucket if they are a bare key."""

    sender: str
    key: str
    url: str
    entry: IndexEntry


@dataclass(frozen=True, slots=True)
class Shown:
    """What an inbox showed to this device after its log was read.

    `since_audit`: what is unread now, or was unread or read since the last audit; None if the server no longer knows.
    `since_oldest`: the same since the oldest cursor here, and `is_all`: nothing older can matter.
    """

    since_audit: frozenset[str] | None = None
    since_oldest: frozenset[str] = frozenset()
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """`since` is when this log began. `listed`: what was listed since the last audit, and until when it must be there.

    `audited` is this device's last audit of the same log, and `elapsed` the seconds since then by this device's clock.
    `read` is what this device has read.
    """

    owner: Owner
    log: CheckedLog
    offers: Offers
    since: UnixTime
    checkpoint: Checkpoint | None = None
    audited: Audited | None = None
    elapsed: int = 0
    listed: Mapping[str, int] = field(default_factory=dict)
    read: frozenset[str] = frozenset()
    shown: Shown = field(default_factory=Shown)
    sent: tuple[ContactEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Proven:
    """A contact's receipt that holds: by which key, and of which UTC day."""

    by: ContactEntry
    receipt: Receipt
    key: str
    day: int


def path_finding(material: Material) -> Finding | None:
    """Whether the log goes on from the checkpoint."""
    log, point, inbox = material.log, material.checkpoint, material.owner.inbox
    if point is None or log.heads.get(point.n) == point.head:
        return None
    if _is_restored_since(log, point.at):
        return finding("restored", inbox)
    kept = min(material.offers.retention, point.retention or material.offers.retention)
    if log.at - point.at >= kept:  # long enough to forget also that a copy was put back
        return finding("away_too_long", inbox)
    if point.n > log.head.n:
        return finding("rolled_back", inbox)
    if point.n >= log.base.n:
        return finding("rewritten", inbox)
    return finding("full" if _is_full(material) else "base_moved", inbox)


def missing_listed(material: Material) -> Iterator[Finding]:
    """What was listed, must still be in the log, and is not."""
    log, is_lost = material.log, is_lost_with_copy(material)
    for id, until in material.listed.items():
        if until > log.at and id not in log.numbers:
            yield finding("restored" if is_lost else "not_in_log", material.owner.inbox, entry=id)


def is_lost_with_copy(material: Material) -> bool:
    """Whether what was listed since the last audit may be lost because the operator has put a copy back since."""
    log, audited = material.log, material.audited
    return log.restored is not None and (audited is None or _is_restored_since(log, audited.at))


def missing_receipted(material: Material) -> Iterator[tuple[Finding, Proven]]:
    """What a contact has a receipt for, must still be in the log, and is not."""
    log = material.log
    for by in material.sent:
        receipt = by.entry.receipts.get(material.owner.inbox)
        if receipt is None or receipt["expires"] <= log.at or by.entry.entry in log.numbers:
            continue
        proven = _proven(by, material.owner)
        if proven is None or not is_logged(receipt["expires"], UnixTime(proven.day * DAY_SECONDS)):
            continue
        if proven.day * DAY_SECONDS <= material.since:  # perhaps of a log before this one: receipts have only days
            continue
        code = "restored" if log.restored is not None and proven.day <= log.restored else "receipt_without_entry"
        yield finding(code, material.owner.inbox, entry=by.entry.entry, sender=by.sender), proven


def suspects(material: Material) -> list[str]:
    """What was logged since the last audit and not shown to this device since."""
    audited, log = material.audited, material.log
    if audited is None or _is_restored_since(log, audited.at):
        return []
    seen = (material.shown.since_audit or frozenset()) | material.read
    # One that is logged again because its life is longer now may have been read before the last audit.
    fresh = (id for id, (first, _) in log.numbers.items() if first > audited.n)
    return [id for id in fresh if id not in seen and id not in material.listed]


def withheld(material: Material) -> Iterator[Finding]:
    """Suspects that cannot have expired, and that nobody can have read."""
    inbox, shown, log, audited = material.owner.inbox, material.shown, material.log, material.audited
    unsure = []
    within_a_day = audited is not None and _is_within_a_day(material, audited)
    untils: dict[str, int] = {}
    for id in suspects(material):
        if id in shown.since_oldest:
            continue
        untils = untils or dict(_proven_lives(material))
        is_alive = untils[id] > log.at if id in untils else within_a_day
        if is_alive and shown.is_all and shown.since_audit is not None:
            yield finding("withheld", inbox, entry=id)
        else:
            unsure.append(id)
    if unsure:
        yield finding("unlisted", inbox, f"{len(unsure)} of them")


def _proven_lives(material: Material) -> Iterator[tuple[str, int]]:
    """Until when entries live, as the server itself has signed it: a contact's word is not enough."""
    for by in material.sent:
        if by.entry.entry in material.log.numbers and (proven := _proven(by, material.owner)):
            yield by.entry.entry, proven.receipt["expires"]


def _is_within_a_day(material: Material, audited: Audited) -> bool:
    """What was logged since the last audit lives for a day at least. Both clocks must say so: either may be wrong."""
    return 0 <= material.log.at - audited.at < DAY_SECONDS and 0 <= material.elapsed < DAY_SECONDS


def _proven(by: ContactEntry, owner: Owner) -> Proven | None:
    """A receipt by a key that the own card never named proves nothing."""
    receipt = by.entry.receipts.get(owner.inbox)
    if receipt is None:
        return None
    taken = Taken(owner.inbox, owner.address, by.entry.entry, receipt["expires"])
    for key in owner.keys:
        try:
            return Proven(by, receipt, key, check_receipt(receipt, key, taken))
        except BadReceipt:
            continue
    return None


def _is_restored_since(log: CheckedLog, moment: int) -> bool:
    """Whether the operator says to have put a copy back on that day or later."""
    return log.restored is not None and log.restored >= moment // DAY_SECONDS


def _is_full(material: Material) -> bool:
    """Then the oldest entries may go before their time."""
    most = material.offers.entries
    return 0 < most <= material.log.head.n - material.log.base.n


def judge(material: Material) -> tuple[list[Finding], list[Proven]]:
    """All findings, and what contacts can prove that the server took and no longer shows."""
    path = path_finding(material)
    listed, receipted = [*missing_listed(material)], [*missing_receipted(material)]
    if _is_full(material) and (gone := {each.entry for each in (*listed, *(each for each, _ in receipted))}):
        listed, receipted = [finding("full", material.owner.inbox, f"{len(gone)} of them")], []
    found: Iterable[Finding] = (
        *([path] if path else []),
        *listed,
        *(each for each, _ in receipted),
        *withheld(material),
    )
    return [*found], [proven for _, proven in receipted]
