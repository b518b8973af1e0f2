"""The contract of a notification channel: a way to tell somebody outside that something waits, and no more."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Tally:
    """Counts of notifications since the start, over all inboxes."""

    sent: int = 0
    """Accepted by a push service or a webhook."""
    failed: int = 0
    """Lost, because the service could not be reached or did not accept them."""
    gone: int = 0
    """Subscriptions that were dropped, because their push service does not know them any more."""
    dropped: int = 0
    """Never tried, because too many waited."""


class Channel(Protocol):
    """One way to notify; the result is counted in the tally."""

    def about(self, inbox: bytes, *, subscribed: bool) -> bytes | None:
        """The subject of a notification for this inbox; two with the same subject become one. None: send nothing."""

    async def notify(self, inbox: bytes) -> None:
        """Notify once. If another server fails, this raises nothing and the notification is lost. May raise
        `Unavailable`, as the store does."""
