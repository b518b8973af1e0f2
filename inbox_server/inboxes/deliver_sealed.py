"""A delivery with a ticket: the right to write without a name. Nothing here learns who writes, or could ask anybody.

The checks run in the order that makes strangers cheap and tells them nothing: first size and shape, then the network's
rate, then one look at the inbox and its sheets, which is the same when there is neither.
"""

import hashlib

from inbox_server.clock import UnixTime
from inbox_server.config.config import Config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inboxes.deliver import not_accepted
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.storing import Recipient, Storing, Taken
from inbox_server.protocol.tickets import parse_sealed_delivery, read_ticket_id
from inbox_server.store.contract import Policy, Store, Ticket, weeks_of
from inbox_server.store.operating import draining


class SealedDeliveries:
    """Accepts deliveries from whoever has a ticket."""

    def __init__(self, store: Store, hashes: KeyedHash, rates: RateLimits, config: Config, storing: Storing) -> None:
        self._store = store
        self._hashes = hashes
        self._rates = rates
        self._config = config
        self._storing = storing

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
        ticket = Ticket(*self._hashes.ticket_and_use(inbox, ticket_id, id), weeks_of(now))
        policy = await self._accepting_policy(inbox, ticket)
        self._rates.check(("inbox", inbox, self._config.inbox_per_hour))
        recipient = Recipient(parsed.to, inbox)
        return await self._storing.keep(id, parsed.delivery, recipient, policy, issued=now, now=now, ticket=ticket)

    async def _accepting_policy(self, inbox: bytes, ticket: Ticket) -> Policy:
        """The policy of an owner who gave this ticket. Raises `Refused`; every refusal asks the database."""
        policy = self._store.known_ticket_policy(inbox, ticket)
        if policy is None or policy.accept == "nobody":
            policy = await self._store.ticket_policy(inbox, ticket)
        if policy is None or policy.accept == "nobody":
            raise not_accepted()
        return policy
