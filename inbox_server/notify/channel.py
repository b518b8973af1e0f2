"""What a channel for notifications promises: a way to tell somebody outside that something waits, and no more."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Tally:
    """What became of notifications since the start; no inbox is told apart."""

    sent: int = 0
    """Taken by a push service or a webhook."""
    failed: int = 0
    """Lost, because it could not be reached or did not take them."""
    gone: int = 0
    """Subscriptions that were dropped, because their push service does not know them any more."""
    dropped: int = 0
    """Never tried, because too many waited."""


class Channel(Protocol):
    """One way to tell; what becomes of it goes into the tally."""

    def about(self, inbox: bytes, *, subscribed: bool) -> bytes | None:
        """What a notification for this inbox is about: two about the same are one. None when nobody is to be told."""

    async def notify(self, inbox: bytes) -> None:
        """Tell once. Raises nothing when others fail: it is lost then. May raise `Unavailable`, as the store does."""
