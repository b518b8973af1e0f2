"""The audit: whether the own inboxes show everything that arrived, and the repair of what one of them does not show.

Contacts' indexes are read first, then lists, then logs, then what changed. So whatever was seen must be in what is read
after it, and an honest server has nothing to explain.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.beginning import NONCE_BYTES
from inbox_server.client.audit.checkpoint import Checkpoint, Checkpoints, SharedCheckpoints
from inbox_server.client.audit.contacts import ContactIndexes, not_read
from inbox_server.client.audit.evidence import evidence_of
from inbox_server.client.audit.findings import Finding, finding
from inbox_server.client.audit.judging import (
    ContactEntry,
    Material,
    Proven,
    Shown,
    is_lost_with_copy,
    judge,
    suspects,
)
from inbox_server.client.audit.log_check import CheckedLog, LogAnswer, LogFault, Owner, check_log, last_number
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.own_file import BadOwnFile
from inbox_server.client.pages import page_of
from inbox_server.client.profile_file import Profile
from inbox_server.client.reading import Reading
from inbox_server.client.receipts import Offers
from inbox_server.client.refusals import InboxRefused
from inbox_server.client.remembered import Audited, Remembered
from inbox_server.client.reports import Audit
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.inbox_log import is_logged
from inbox_server.protocol.base64url import encode

_PAGE: Final = 1000
_TRIES: Final = 3  # of a log whose base moves while it is read
_LOST_CURSOR: Final = ("cursor_gone", "bad_cursor")
_BROKEN: Final = frozenset({"rewritten", "rolled_back", "base_moved", "replayed", "other_key", "other_time"})
_CLOCK_SECONDS: Final = 2 * 3600  # a clock that was not put back for the winter is an hour wrong


@dataclass(frozen=True, slots=True)
class _Look:
    """What one inbox was found to be. `entries` are those of its log."""

    findings: tuple[Finding, ...]
    log: CheckedLog | None = None
    checkpoint: Checkpoint | None = None
    proven: tuple[Proven, ...] = ()


class Auditing:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._reading = Reading(account)
        self._checkpoints = SharedCheckpoints(account.user)
        self._indexes = ContactIndexes(account)

    async def audit(self) -> Audit:
        """Ask every own inbox, and every contact's bucket. It reports failures and raises nothing.

        If an inbox is gone, the own card may show where another device has moved it.
        """
        audit = await self._audit()
        if any(each.code == "no_inbox" for each in audit.findings) and (taken := await self._reading.catch_up()):
            return replace(await self._audit(), taken_over=taken)
        return audit

    async def _audit(self) -> Audit:
        self._indexes.problems.clear()
        points, findings = await self._read_checkpoints()
        is_readable = points is not None
        await self._account.is_time_known()
        sent = await self._indexes.read()
        looks: dict[str, _Look] = {}

        async def look(inbox: Inbox) -> None:
            looks[inbox.url] = await self._look(inbox, (points or {}).get(inbox.url), sent, is_last=not is_readable)

        outcomes = await self._reading.at_sources(look)
        there = sum(outcome.code != "no_inbox" for outcome in outcomes)
        for outcome in outcomes:
            if outcome.code == "no_inbox":
                findings.append(finding("no_inbox", outcome.inbox))
            elif outcome.state != "done":
                findings.append(finding("unreachable", outcome.inbox, outcome.detail))
        findings += [each for look in looks.values() for each in look.findings]
        if is_readable:
            findings += await self._write_checkpoints(looks)
        if len(looks) == there and not self._indexes.problems:
            self._remember(Remembered.without_gaps)
        return Audit(
            tuple(findings),
            sum(len(look.log.numbers) for look in looks.values() if look.log),
            sum(len(each.entry.receipts) for each in sent),
            not_read(self._missing(sent, looks, there), self._account),
            tuple(self._indexes.problems),
        )

    async def _read_checkpoints(self) -> tuple[Checkpoints | None, list[Finding]]:
        """None if nobody knows now what other devices have checked. A damaged file is written anew."""
        try:
            return await self._checkpoints.read(), []
        except BadOwnFile as failure:
            return {}, [finding("no_checkpoint", "", str(failure))]
        except BucketFailed as failure:
            return None, [finding("no_checkpoint", "", str(failure))]

    async def _write_checkpoints(self, looks: Mapping[str, _Look]) -> list[Finding]:
        try:
            await self._checkpoints.write({url: look.checkpoint for url, look in looks.items() if look.checkpoint})
        except BucketFailed as failure:
            return [finding("no_checkpoint", "", str(failure))]
        return []

    async def _look(
        self, inbox: Inbox, shared: Checkpoint | None, sent: tuple[ContactEntry, ...], *, is_last: bool
    ) -> _Look:
        """One inbox. Without a checkpoint, the log may be another one than before: its base is trusted, once.

        `is_last`: the next audit must not build on this one. Raises what `Inbox` raises.
        """
        offers = await self._account.offers(inbox, fresh=True)
        if not offers.has_log or offers.key is None:
            return _Look((finding("no_log", inbox.url),))
        owner = self._owner(inbox, offers.key)
        listed = await self._reading.list_all(inbox)
        answers = await self._log(inbox)
        begun = self._account.profile.read().remembered.begun.get(inbox.url, 0)
        point = shared if shared and shared.since >= begun else None
        try:
            log = check_log(answers, owner, [point.n] if point else [])
        except LogFault as fault:
            found = self._fault(fault, owner, offers)
            return _Look((replace(found, evidence=evidence_of(owner, answers, found)),))
        since = point.since if point else log.at
        material = await self._material(inbox, owner, offers, log, point, since, sent)
        findings, proven = judge(material)
        if abs(log.at - self._account.user.clock()) > _CLOCK_SECONDS:  # else a server could let everything expire
            findings.append(finding("other_time", inbox.url))
        findings += [finding("swapped", inbox.url, entry=id) for id in listed.swapped]
        witnessed = tuple(self._with_evidence(each, material, answers, proven) for each in findings)
        if any(each.code in _BROKEN for each in findings):
            return _Look(witnessed, log, None, tuple(proven))
        if not is_last:
            self._settle(inbox, material, listed.cursor)
        at = Checkpoint(log.head.n, log.head.head, log.at, since, log.signed, offers.retention)
        return _Look(witnessed, log, at, tuple(proven))

    def _owner(self, inbox: Inbox, offered: str) -> Owner:
        """The keys that the own card has named. The first time, the one that the server names now is taken for good."""
        known = self._account.profile.read().remembered.receipt_keys
        if inbox.url not in known:
            self._remember(partial(Remembered.with_receipt_key, inbox=inbox.url, key=offered))
        return Owner(inbox.url, known.get(inbox.url, (offered,)), self._account.user.key.address)

    async def _log(self, inbox: Inbox) -> list[LogAnswer]:
        """All of it; anew when its base moves over the place where it was being read."""
        answers: list[LogAnswer] = []
        for _ in range(_TRIES):
            answers, more = [], True
            after: int | None = None
            while more:
                nonce = encode(self._account.user.random_bytes(NONCE_BYTES))
                document = await inbox.log(after, nonce, _PAGE)
                answers.append(LogAnswer(nonce, document))
                before, (after, more) = after, last_number(document)
                more = more and (before is None or after > before)  # a server may say so for ever
            if not _is_torn(answers):
                break
        return answers

    def _fault(self, fault: LogFault, owner: Owner, offers: Offers) -> Finding:
        """A signature by no key of the own card is an accusation unless the server says that it has a new key."""
        code = "rewritten" if fault.code == "other_key" and offers.key in owner.keys else fault.code
        return finding(code, owner.inbox)

    async def _material(
        self,
        inbox: Inbox,
        owner: Owner,
        offers: Offers,
        log: CheckedLog,
        point: Checkpoint | None,
        since: UnixTime,
        sent: tuple[ContactEntry, ...],
    ) -> Material:
        remembered = self._account.profile.read().remembered
        audited = remembered.audited.get(inbox.url)
        if audited and not (audited.since == since and log.base.n <= audited.n <= log.head.n):
            audited = None  # of another log: its numbers began elsewhere, even if it began in the same second
        material = Material(
            owner,
            log,
            offers,
            since,
            point,
            audited,
            self._account.user.clock() - audited.here if audited else 0,
            remembered.listed.get(inbox.url, {}) if audited else {},
            frozenset(remembered.read) | frozenset(self._account.profile.read().to_ack.get(inbox.url, ())),
            sent=sent,
        )
        if audited is None:
            return material
        since_audit = await self._changes(inbox, audited.cursor)
        material = replace(material, shown=Shown(since_audit))
        if not suspects(material):
            return material
        return replace(material, shown=await self._shown_since_oldest(inbox, material, since_audit))

    async def _shown_since_oldest(self, inbox: Inbox, material: Material, since_audit: frozenset[str] | None) -> Shown:
        """Another device may have read something before the last audit that was delivered after it."""
        marks = self._account.profile.read().marks.get(inbox.url, {})
        today = material.log.at // DAY_SECONDS
        for day in sorted(map(int, marks)):
            shown = await self._changes(inbox, marks[str(day)])
            if shown is not None:
                is_old = (today - day) * DAY_SECONDS > material.offers.retention + DAY_SECONDS
                is_ours = self._account.profile.read().remembered.begun.get(inbox.url) == material.since
                return Shown(since_audit, shown, is_old or (is_ours and _is_same_day(day, material)))
        return Shown(since_audit)

    async def _changes(self, inbox: Inbox, cursor: str) -> frozenset[str] | None:
        """What is unread or was read since a cursor; None if the server no longer knows."""
        ids: set[str] = set()
        try:
            while True:
                page = await page_of(inbox, cursor)
                ids.update(page.read, page.swapped, (entry.id for entry in page.messages))
                cursor = page.cursor
                if not page.more:
                    return frozenset(ids)
        except InboxRefused as refusal:
            if refusal.code not in _LOST_CURSOR:
                raise
            return None

    def _with_evidence(
        self, found: Finding, material: Material, answers: list[LogAnswer], proven: Iterable[Proven]
    ) -> Finding:
        if not found.is_accusation:
            return found
        by_receipt = next((each for each in proven if each.by.entry.entry == found.entry), None)
        if found.code == "receipt_without_entry" and by_receipt:
            return replace(
                found,
                evidence=evidence_of(material.owner, answers, found, key=by_receipt.key, receipt=by_receipt.receipt),
            )
        before = material.checkpoint.signed if material.checkpoint else ""
        return replace(found, evidence=evidence_of(material.owner, answers, found, before=before))

    def _settle(self, inbox: Inbox, material: Material, cursor: str) -> None:
        """The log is checked up to its head. What was listed and is in it is protected by that from now on.

        What is missing is held against the server again, but not what was lost with a copy that was put back.
        """
        log = material.log
        audited = Audited(log.head.n, log.at, self._account.user.clock(), cursor, material.since)
        missing = {id: until for id, until in material.listed.items() if until > log.at and id not in log.numbers}
        left = missing
        if is_lost_with_copy(material):
            left = {}
            self._account.profile.change(partial(Profile.without_sheets, inbox=inbox.url))
        self._remember(partial(Remembered.with_audited, inbox=inbox.url, audited=audited, left=left))

    def _missing(self, sent: Iterable[ContactEntry], looks: Mapping[str, _Look], there: int) -> Iterator[ContactEntry]:
        """What an inbox hides, and if all that are there have logs, also what lives for days and is in none of them."""
        now = self._account.now
        logs = [look.log for look in looks.values() if look.log]
        hidden = {each.entry for look in looks.values() for each in look.findings}
        for each in sent:
            is_logged_nowhere = len(logs) == there and not any(each.entry.entry in log.numbers for log in logs)
            is_logged_nowhere = is_logged_nowhere and not self._is_of_left(each)
            if each.entry.entry in hidden or (is_logged_nowhere and is_logged(_end(each), now)):
                yield each

    def _is_of_left(self, sent: ContactEntry) -> bool:
        """Whether it was taken only by inboxes that the owner has left.

        A move has carried it over, unless it was read, which this device cannot know.
        """
        return bool(sent.entry.receipts) and sent.entry.receipts.keys().isdisjoint(self._account.profile.read().sources)

    def _remember(self, change: Callable[[Remembered], Remembered]) -> None:
        self._account.profile.change(lambda profile: profile.with_remembered(change))


def _end(sent: ContactEntry) -> UnixTime:
    """While no server has answered, a sender's guess is not the end of a day."""
    expires = sent.entry.expires
    return expires if sent.entry.receipts else UnixTime(expires // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS - 1)


def _is_same_day(day: int, material: Material) -> bool:
    """Whether the cursor of that day was kept when this device made the inbox."""
    return day * DAY_SECONDS <= max(material.since + 1, material.since // DAY_SECONDS * DAY_SECONDS)


def _is_torn(answers: list[LogAnswer]) -> bool:
    """Whether the base has moved over entries that were still to be read."""
    return any(after.document["base"]["n"] > last_number(before.document)[0] for before, after in pairwise(answers))
