"""What a store does for its operator, beside what `contract.py` promises to owners and senders.

Inboxes and invites come in and go out as keyed hashes, as they do there. `tests/store/test_operating.py` runs for each
store. All methods may raise `Unavailable`. Each may be repeated, and one that was broken off leaves nothing half done.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from inbox_server.clock import UnixTime
from inbox_server.errors import Unavailable

Standby = Literal["in_sync", "none", "unknown"]
"""`none`: no synchronous standby confirms commits. `unknown`: the server's role may not see it."""

NEARLY_FULL_PERCENT: Final = 90
_RETRY_SECONDS: Final = 600  # soon enough to notice that the recipient has moved


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Inboxes with `least` unread entries or more, up to the next class: how many, and what they hold."""

    least: int
    inboxes: int
    unread: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All inboxes together. Nothing here is about one of them.

    `classes` begin at 0, 1, 10, 100, 1,000 and 10,000 unread entries. `file_bytes` is the size of the database, and
    `free_bytes` is how much of that holds nothing.
    """

    classes: tuple[SizeClass, ...]
    read: int
    nearly_full: int
    own_quotas: int
    suspended: int
    file_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the operator may know of one inbox. A quota of None is that of the configuration."""

    exists: bool
    suspended: bool
    unread: int
    bytes: int
    most_entries: int | None
    most_bytes: int | None


@dataclass(frozen=True, slots=True)
class Invite:
    code: bytes
    expires: UnixTime


class Operating(Protocol):
    @property
    def draining(self) -> bool:
        """Whether the server takes nothing new."""

    async def overview(self) -> Overview: ...

    async def look_up(self, inbox: bytes) -> Known: ...

    async def suspend(self, inbox: bytes) -> bool:
        """Deliver nothing more to it, and refuse its claim; False when it was so already. It need not exist.

        What is in it stays, and its owner may read, change and delete it. The owner gets the notice `suspended`.
        """

    async def resume(self, inbox: bytes) -> bool:
        """Take `suspend` back; False when it was not suspended."""

    async def drop(self, inbox: bytes) -> bool:
        """Drop the inbox and everything in it; False when there is none. One that is suspended stays so."""

    async def set_quota(self, inbox: bytes, entries: int | None, bytes: int | None) -> bool:
        """How much this inbox may hold from now on; False when there is none. What is there already stays."""

    async def invites(self, now: UnixTime) -> tuple[Invite, ...]:
        """Those that are still good, in the order in which they expire."""

    async def revoke_invite(self, handle: str) -> int:
        """Drop the invite whose code begins so, in hex. How many do; with more than one, nothing is dropped."""

    async def drain(self, *, on: bool) -> bool:
        """Refuse all deliveries and claims from now on, or take them again; False when it was so already."""

    async def standby(self) -> Standby | None:
        """Whether another machine has what was answered; None for a store that has no standbys."""

    async def vacuum(self) -> int:
        """Give room that holds nothing back to the file system, in small steps. Returns how many bytes."""


def draining() -> Unavailable:
    return Unavailable(
        "draining",
        "The server's operator lets it take nothing new. The recipient may move to another server: read their inbox"
        " card again before you repeat this.",
        retry_after=_RETRY_SECONDS,
    )
