"""What a watch does so that no server can hide anything: an audit now and then, and reading without a server."""

from collections.abc import Callable
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.auditing import Auditing
from inbox_server.client.reading import Reading
from inbox_server.client.reports import Audit, Entry
from inbox_server.clock import DAY_SECONDS

_SOON_SECONDS: Final = 3600  # after an audit, when a sender's numbers show a gap
_EVERY_DAY: Final = {"unreachable", "no_log", "no_checkpoint", "unlisted"}  # not worth a line each day


class InWatch:
    """`monotonic` counts seconds."""

    def __init__(self, account: Account, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._monotonic = monotonic
        self._audit_at: float | None = None
        self._soon_at = 0.0
        self._rounds = 0

    async def audit(self) -> Audit | None:
        """Audit once a day, not all clients at once; the result if it says that something is wrong, or was found."""
        remembered = self._account.profile.read().remembered
        if not any(url in remembered.receipt_keys for url in self._account.profile.read().sources):
            return None  # no inbox here has ever had a log
        now = self._monotonic()
        if self._audit_at is None:
            self._audit_at, self._soon_at = now + self._first_pause(), now
        has_gap = any(person.gaps for person in remembered.people.values())
        if now < (min(self._soon_at, self._audit_at) if has_gap else self._audit_at):
            return None
        self._soon_at = now + _SOON_SECONDS
        self._audit_at = now + DAY_SECONDS * (0.75 + self._account.random() / 2)
        audit = await Auditing(self._account).audit()
        is_worth_telling = audit.found or any(each.code not in _EVERY_DAY for each in audit.findings)
        return audit if is_worth_telling else None

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
