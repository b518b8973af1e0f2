"""The end of every delivery, signed or sealed, once it is accepted: store it, count it, tell the owner, and sign."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from inbox_server.clock import DAY_SECONDS, UnixTime, end_of_day
from inbox_server.config.config import Config
from inbox_server.errors import Refused
from inbox_server.inboxes.receipts import Receipts
from inbox_server.metrics import Metrics
from inbox_server.protocol.receipts import Receipt
from inbox_server.protocol.requests import DeliveryBody
from inbox_server.store.contract import Policy, Store, Ticket


@dataclass(frozen=True, slots=True)
class Taken:
    """What a sender is told: the entry's id (32 bytes), when it expires, whether it is new; and a receipt, if asked."""

    id: bytes
    expires: UnixTime
    new: bool
    receipt: Receipt | None = None


class Recipient(NamedTuple):
    """Whom a delivery is for: an app address, and the inbox of it."""

    address: str
    inbox: bytes


class Soon(Protocol):
    """Sends the owner of an inbox a notification that something new waits. Returns at once, and may lose it."""

    def __call__(self, inbox: bytes, channels: Collection[str]) -> None: ...


class Storing:
    """Stores what was accepted. Commit, then answer, then wake."""

    def __init__(self, store: Store, config: Config, metrics: Metrics, notify: Soon, receipts: Receipts) -> None:
        self._store = store
        self._config = config
        self._metrics = metrics
        self._notify = notify
        self._receipts = receipts

    async def keep(
        self,
        id: bytes,
        body: DeliveryBody,
        recipient: Recipient,
        policy: Policy,
        *,
        issued: UnixTime,
        now: UnixTime,
        ticket: Ticket | None = None,
    ) -> Taken:
        """Store an entry whose life counts from `issued`. Raises `Refused` or `Unavailable`; then nothing is stored."""
        expires = granted_expiry(issued, body.ttl, min(policy.retention, self._config.max_retention_seconds))
        if expires <= now:
            raise Refused("ttl_passed", "The `ttl`, counted from the token's `iat`, is over. Nothing was stored.")
        inbox = recipient.inbox
        delivered = await self._store.deliver(inbox, id, body.message_id, expires=expires, now=now, ticket=ticket)
        self._metrics.delivered(new=delivered.new, sealed=ticket is not None)
        if delivered.new:  # on disk by now
            self._notify(inbox, policy.channels)
        receipt = None
        if body.receipt:
            receipt = await self._receipts.sign(recipient.address, id, expires=delivered.expires, now=now)
        return Taken(id, delivered.expires, delivered.new, receipt)


def granted_expiry(issued: UnixTime, ttl: int | None, retention: int) -> UnixTime:
    """The shorter lifetime wins. One of a day or more ends at the end of a UTC day, so it does not reveal the hour."""
    life = retention if ttl is None else min(ttl, retention)
    expires = UnixTime(issued + life)
    return expires if life < DAY_SECONDS else end_of_day(expires)
