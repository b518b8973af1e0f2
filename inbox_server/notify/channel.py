"""The contracts of notification channels: ways to tell somebody outside that something waits, and no more.

`Channel` is what the schedule needs. A channel to addresses of the owners' own implements `OwnerChannel`, and
`owners.py` and `inboxes/subscriptions.py` do the rest, which is the same for all: tokens, sealing, rows, notices.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import encode

SHORT_ID_CHARACTERS: Final = 16  # 96 bits of a hash: enough to tell a few apart, and hard to guess
TEXT: Final = b"Something waits in your inbox."  # what people are told, where it is not an app that reads it
_NEVER: Final = UnixTime(0)


@dataclass(slots=True)
class Tally:
    """Counts of a channel's notifications since the start, over all inboxes."""

    sent: int = 0
    """Accepted by the service behind the channel."""
    failed: int = 0
    """Lost, because the service could not be reached or did not accept them."""
    gone: int = 0
    """Subscriptions that were dropped, because the service does not know them any more."""
    dropped: int = 0
    """Never tried, because too many waited."""
    stopped: int = 0
    """Never tried, because the service refuses the operator's account: only the operator can help."""


class Stopped(Exception):
    """The service refuses the operator's account. Nothing is tried until the operator has done something."""


class Channel(Protocol):
    """One way to notify; the results are counted in `tally`."""

    @property
    def name(self) -> str: ...

    @property
    def at_once(self) -> int:
        """How many notifications may be under way at a time. The others wait."""

    tally: Tally

    def about(self, inbox: bytes, channels: Collection[str]) -> bytes | None:
        """The subject of a notification for this inbox; two with the same subject become one. None: send nothing.

        `channels` are the names of those to which the owner subscribed.
        """

    async def notify(self, inbox: bytes) -> None:
        """Notify once. If another server fails, this raises nothing and the notification is lost. May raise
        `Unavailable`, as the store does."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one owner is told. It is stored sealed, and shown to nobody."""

    where: str = field(repr=False)
    """ASCII, such as an endpoint or a room."""
    keys: bytes = field(default=b"", repr=False)
    """Whatever else the channel needs."""
    since: UnixTime = _NEVER
    """The beginning of the day on which it was last subscribed."""

    @property
    def short_id(self) -> str:
        """Its ID in a list: anyone who has the address can compute it, but nobody can reverse it."""
        return encode(hashlib.sha256(self.where.encode("ascii")).digest())[:SHORT_ID_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the server must know of a channel to owners' addresses."""

    name: str
    """In the protocol: the route `/v1/inbox/{name}`, a member of the settings, and the notice `{name}_gone`."""
    feature: str
    """What the capability document lists of it in `features`."""
    member: str
    """What the bodies of `PUT` and `DELETE` call the address."""
    most: int
    """How many addresses an inbox may have. If it is one, a new one takes the place of the old one."""
    where_characters: int
    """Every address is sealed as if it had so many, and has `keys_bytes`: so rows are of one size."""
    keys_bytes: int
    at_once: int
    """How many notifications may be under way at a time."""


class OwnerChannel(Protocol):
    """A channel to addresses that owners subscribe: all that is special about it."""

    @property
    def kind(self) -> Kind: ...

    def capability(self) -> dict[str, Any]:
        """What the capability document says under the channel's name."""

    def parse(self, body: bytes) -> Address:
        """What a `PUT` asks for. Raises `Refused`."""

    async def admit(self, address: Address) -> None:
        """Make sure that this address can be told, before it is kept. Raises `Refused` or `Unavailable`."""

    def service(self, address: Address) -> str:
        """What a list shows of an address: whose server it is at."""

    async def tell(self, address: Address) -> None:
        """Tell it that something waits.

        Raises `Absent` when the address is no more, so that it is dropped; `Unreachable`, or `Stopped`.
        """
