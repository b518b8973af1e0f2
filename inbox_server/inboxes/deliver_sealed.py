"""A delivery with a ticket: the right to write without a name. Nothing here learns who writes, or could ask anybody.

The checks run in the order that makes strangers cheap and tells them nothing: first size and shape, then the network's
rate, then one look at the inbox and its sheets, which is the same when there is neither.
"""

import hashlib

from inbox_server.clock import UnixTime
from inbox_server.config.config import Config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inboxes.deliver import Soon, Taken, granted_expiry, not_accepted
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.receipts import Receipts
from inbox_server.metrics import Metrics
from inbox_server.protocol.tickets import parse_sealed_delivery, read_ticket_id
from inbox_server.store.contract import Policy, Store, Ticket, weeks_of
from inbox_server.store.operating import draining


class SealedDeliveries:
    """Accepts deliveries from whoever has a ticket."""

    def __init__(
        self,
        store: Store,
        hashes: KeyedHash,
        rates: RateLimits,
        config: Config,
        metrics: Metrics,
        notify: Soon,
        receipts: Receipts,
    ) -> None:
        self._store = store
        self._hashes = hashes
        self._rates = rates
        self._config = config
        self._metrics = metrics
        self._notify = notify
        self._receipts = receipts

    async def deliver(self, authorization: str | None, body: bytes, now: UnixTime, *, network: bytes | None) -> Taken:
        """Store a delivery. Raises `Refused` or `Unavailable`; then nothing was stored.

        `network` is as for `Deliveries.deliver`.
        """
        parsed = parse_sealed_delivery(body)
        if self._store.operating.draining:
            raise draining()
        ticket_id = read_ticket_id(authorization)
        if network is not None:
            self._rates.check(("network", network, self._config.network_per_hour))
        inbox = self._hashes.inbox(parsed.to)
        id = hashlib.sha256(parsed.delivery.message_id.encode()).digest()
        hashed = self._hashes.ticket(inbox, ticket_id)
        ticket = Ticket(hashed, self._hashes.ticket_use(hashed, id), weeks_of(now))
        policy = await self._accepting_policy(inbox, ticket)
        self._rates.check(("inbox", inbox, self._config.inbox_per_hour))
        expires = granted_expiry(now, parsed.delivery.ttl, min(policy.retention, self._config.max_retention_seconds))
        text = parsed.delivery.message_id
        delivered = await self._store.deliver(inbox, id, text, expires=expires, now=now, ticket=ticket)
        self._metrics.delivered(new=delivered.new, sealed=True)
        if delivered.new:  # on disk by now
            self._notify(inbox, policy.channels)
        receipt = None
        if parsed.delivery.receipt:
            receipt = await self._receipts.sign(parsed.to, id, expires=delivered.expires, now=now)
        return Taken(id, delivered.expires, delivered.new, receipt)

    async def _accepting_policy(self, inbox: bytes, ticket: Ticket) -> Policy:
        """The policy of an owner who gave this ticket. Raises `Refused`; every refusal asks the database."""
        policy = self._store.known_ticket_policy(inbox, ticket)
        if policy is None or policy.accept == "nobody":
            policy = await self._store.ticket_policy(inbox, ticket)
        if policy is None or policy.accept == "nobody":
            raise not_accepted()
        return policy
