"""What a watch does so that no server can hide anything: an audit now and then, and reading without a server."""

from collections.abc import Callable, Collection
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.auditing import Auditing
from inbox_server.client.due import Due
from inbox_server.client.reading import Reading
from inbox_server.client.reports import Audit, Entry
from inbox_server.clock import DAY_SECONDS

_SOON_SECONDS: Final = 3600  # after an audit, when a sender's numbers show a gap
_ONCE: Final = {"unreachable", "no_log", "no_checkpoint"}  # not worth a line each day
_NEVER: Final = {"unlisted"}  # usual with several devices


class InWatch:
    """`monotonic` counts seconds."""

    def __init__(self, account: Account, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._rare, self._soon = (Due(monotonic, account.user.clock) for _ in range(2))
        self._is_begun = False
        self._rounds = 0
        self._told: set[tuple[str, str]] = set()

    async def audit(self, up: Collection[str]) -> Audit | None:
        """Audit once a day, not all clients at once; the result if it says that something is wrong, or was found.

        `up` are the inboxes that are followed: of the others, the watch has said already that they cannot be reached.
        """
        remembered = self._account.profile.read().remembered
        if not any(url in remembered.receipt_keys for url in self._account.profile.read().sources):
            return None  # no inbox here has ever had a log
        if not self._is_begun:
            self._rare.wait(self._first_pause())
            self._is_begun = True
        has_gap = any(person.gaps for person in remembered.people.values())
        if not self._rare.is_now and not (has_gap and self._soon.is_now):
            return None
        self._soon.wait(_SOON_SECONDS)
        self._rare.wait(DAY_SECONDS * (0.75 + self._account.random() / 2))
        audit = await Auditing(self._account).audit()
        findings = [each for each in audit.findings if each.code != "unreachable" or each.inbox in up]
        before, self._told = self._told, {(each.code, each.inbox) for each in findings if each.code in _ONCE}
        is_worth_telling = audit.found or any(each.code not in _ONCE | _NEVER for each in findings)
        return audit if is_worth_telling or self._told - before else None

    def _first_pause(self) -> float:
        """So that a watch that is started each hour does not audit each hour."""
        audited = [each.here for each in self._account.profile.read().remembered.audited.values()]
        elapsed = self._account.user.clock() - max(audited, default=0)
        return max(0.0, DAY_SECONDS - elapsed) if elapsed >= 0 else 0.0

    async def without_server(self, *, is_any_up: bool) -> tuple[Entry, ...] | None:
        """What contacts' buckets have, in rounds 1, 2, 4, 8 and so on after no inbox answers; else None."""
        self._rounds = 0 if is_any_up else self._rounds + 1
        if is_any_up or self._rounds & (self._rounds - 1):
            return None
        return await Reading(self._account).without_server()
