"""A whole server as docs/protocol.md promises it: inboxes, tokens and who may claim what. As `api_inbox.py` says."""

import copy
import itertools
from typing import Final

from tests.support.api_inbox import DAY, Answer, Change, Delivery, Inbox, Limits, Place, granted_until, refusal

SKEW: Final = 60
TOKEN_LIFE: Final = 300
READ_TOKEN_LIFE: Final = 3600


class Model:
    """A server, and what each request to it is answered. Nothing is done that is refused."""

    def __init__(self, limits: Limits, now: int) -> None:
        self.limits = limits
        self.now = now
        self.inboxes: dict[str, Inbox] = {}
        self._given_up: dict[str, int] = {}
        self._generations = itertools.count(1)

    def deliver(self, asked: Delivery) -> Answer:
        inbox = self.inboxes.get(asked.owner)
        if late := self._out_of_time(asked.issued):
            return late
        if inbox is None or not inbox.takes(asked):
            return refusal("not_accepted")
        granted = granted_until(asked.issued, asked.ttl, inbox.retention)
        return inbox.deliver(asked.text, granted, self.now) if granted > self.now else refusal("ttl_passed")

    def acknowledge(self, owner: str, texts: list[str]) -> Answer:
        inbox = self.inboxes.get(owner)
        if inbox is None:
            return refusal("no_inbox")
        for text in texts:
            inbox.acknowledge(text, self.now)
        return 204, {}

    def page(self, owner: str, place: Place | None, limit: int, issued: int) -> tuple[Answer, Place | None]:
        if late := self._out_of_time(issued, READ_TOKEN_LIFE):
            return late, None
        inbox = self.inboxes.get(owner)
        return inbox.page(place, limit, self.now) if inbox else (refusal("no_inbox"), None)

    def log(self, owner: str) -> tuple[list[str], int | None] | None:
        """The ids in the log, and the day on which a copy was put back, if that is told; None without an inbox."""
        inbox = self.inboxes.get(owner)
        return inbox.logged(self.now) if inbox else None

    def settings(self, owner: str) -> Answer:
        inbox = self.inboxes.get(owner)
        return (200, inbox.settings()) if inbox else refusal("no_inbox")

    def change(self, asked: Change) -> Answer:
        """`PUT`, or `DELETE` when there are no settings."""
        inbox = self.inboxes.get(asked.owner)
        if late := self._out_of_time(asked.issued):
            return late
        if asked.settings is None:
            return self._give_up(inbox, asked)
        if asked.issued < self._given_up.get(asked.owner, 0):
            return refusal("stale_token")
        if inbox is None:
            generation, retention = next(self._generations), self.limits.default_retention
            made = Inbox(self.limits, generation, asked.app, retention, asked.issued)
            made.settle(asked)
            self.inboxes[asked.owner] = made
            return 201, made.settings()
        if inbox.app != asked.app:
            return refusal("bad_token", member="app")
        if asked.issued < inbox.settings_at and asked.settings != inbox.last:
            return refusal("stale_token")
        inbox.settle(asked)
        return 200, inbox.settings()

    def sweep(self) -> None:
        for inbox in self.inboxes.values():
            inbox.sweep(self.now)

    def restart(self) -> None:
        """Only who gave an inbox up a moment ago is not remembered (docs/threat-model.md); it sweeps as it opens."""
        self._given_up.clear()
        self.sweep()

    def back_up(self, *, settings_only: bool) -> dict[str, Inbox]:
        copied = copy.deepcopy(self.inboxes)
        for inbox in copied.values() if settings_only else ():
            inbox.known.clear()
            inbox.log.clear()
            inbox.refused = False
        return copied

    def restore(self, copied: dict[str, Inbox]) -> None:
        """No cursor from before is one of the inboxes that are back."""
        self.inboxes = copy.deepcopy(copied)
        for inbox in self.inboxes.values():
            inbox.generation = next(self._generations)
            inbox.restored = self.now // DAY
        self.restart()

    def edges(self) -> list[int]:
        """The moments ahead at which something expires or is forgotten."""
        known = [each for inbox in self.inboxes.values() for each in inbox.known.values()]
        moments = {moment for each in known for moment in (each.expires, each.forget_at)}
        moments |= {until for inbox in self.inboxes.values() for _, until in inbox.log}
        return sorted(moment for moment in moments if moment > self.now)

    def _give_up(self, inbox: Inbox | None, asked: Change) -> Answer:
        if inbox is not None:
            if asked.issued < inbox.settings_at:
                return refusal("stale_token")
            del self.inboxes[asked.owner]
            self._given_up[asked.owner] = asked.issued
        return 204, {}

    def _out_of_time(self, issued: int, life: int = TOKEN_LIFE) -> Answer | None:
        if issued > self.now + SKEW:
            return refusal("bad_token", member="iat", now=self.now)
        if issued + life <= self.now - SKEW:
            return refusal("bad_token", member="exp", now=self.now)
        return None
