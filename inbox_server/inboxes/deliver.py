"""A delivery. Its checks run in the one order that makes strangers cheap and tells them nothing.

First size and shape, then the token, the sender's signature, the owner's policy, and only then look-ups. A sender who
is refused before the look-ups costs us a hash, a signature and two reads, also when the inbox does not exist.
"""

import hashlib

from inbox_server.clock import UnixTime
from inbox_server.config.config import Config
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import PublicKey
from inbox_server.identity.names import Address, Name
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.storing import Recipient, Storing, Taken
from inbox_server.protocol.requests import parse_delivery
from inbox_server.protocol.tokens import DeliverToken, read_deliver_token
from inbox_server.resolver.contract import Resolver, leads_to, unavailable, unproven
from inbox_server.store.contract import Policy, Store
from inbox_server.store.operating import draining


class Deliveries:
    """Accepts deliveries."""

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        hashes: KeyedHash,
        rates: RateLimits,
        config: Config,
        storing: Storing,
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._hashes = hashes
        self._rates = rates
        self._config = config
        self._storing = storing

    @property
    def draining(self) -> bool:
        """Whether none is accepted, because the server takes nothing new."""
        return self._store.operating.draining

    async def deliver(self, authorization: str | None, body: bytes, now: UnixTime, *, network: bytes | None) -> Taken:
        """Store a delivery. Raises `Refused` or `Unavailable`; then nothing was stored.

        `network` is the network that the request came from, for the rate limits; None when it is not known.
        """
        parsed = parse_delivery(body)
        if self.draining:
            raise draining()
        token = read_deliver_token(authorization, body, audience=self._config.public_url, now=now)
        key = await self._check_signature(token)
        inbox = await self._inbox(token)
        if network is not None:
            self._rates.check(("network", network, self._config.network_per_hour))
        policy = await self._accepting_policy(token, key, inbox)
        address = await self._check_names(token, key, inbox)
        # Count only what the policy accepts: otherwise new keys could use up the inbox's limit, and others' counts.
        self._rates.check(
            ("sender", inbox + key.address.encode(), self._config.sender_per_hour),
            ("inbox", inbox, self._config.inbox_per_hour),
        )
        id = hashlib.sha256(parsed.message_id.encode()).digest()
        return await self._storing.keep(id, parsed, Recipient(address, inbox), policy, issued=token.issued, now=now)

    async def _check_signature(self, token: DeliverToken) -> PublicKey:
        """The key that signed: the token's own, or the one in the sender's bucket."""
        if isinstance(token.sender, PublicKey):
            token.check_signature(token.sender)
            return token.sender
        if token.key:
            token.check_signature(token.key)
            return token.key
        name = token.sender.text
        key = await self._resolver.key(name, token.app)
        try:
            token.check_signature(key)
        except Refused:  # the sender may have a new key: look again; the resolver limits how often
            key = await self._resolver.key(name, token.app, fresh=True)
            token.check_signature(key)
        return key

    async def _inbox(self, token: DeliverToken) -> bytes:
        """The recipient's inbox. For a name that nobody has proven here, it is one that does not exist."""
        if isinstance(token.recipient, Name):
            name = self._hashes.name(token.recipient.text, token.app)
            return await self._store.proven(name) or name  # no inbox has this hash, and each name has its own limits
        return self._hashes.inbox(_address(token.recipient))

    def _is_own(self, token: DeliverToken, key: PublicKey, inbox: bytes) -> bool:
        """Whether senders deliver to themselves."""
        if isinstance(token.recipient, Name):
            return self._hashes.is_inbox_of(inbox, key.address)
        return _address(token.recipient) == key.address

    async def _accepting_policy(self, token: DeliverToken, key: PublicKey, inbox: bytes) -> Policy:
        """The owner's policy, which accepts this delivery. Raises `Refused`.

        Only an acceptance may come from memory. Every refusal asks the database, whatever its reason, and whether the
        inbox is remembered, is not, or does not exist: so all take the same steps.
        """
        app, own = self._hashes.app(inbox, token.app), self._is_own(token, key, inbox)
        sender, named = self._hashes.listed(inbox, key.address), isinstance(token.sender, Name)
        policy = self._store.known_policy(inbox, sender)
        if policy is None or not may_deliver(policy, same_app=policy.app == app, named=named, own=own):
            policy = await self._store.policy(inbox, sender)
        if policy is None or not may_deliver(policy, same_app=policy.app == app, named=named, own=own):
            raise not_accepted()
        return policy

    async def _check_names(self, token: DeliverToken, key: PublicKey, inbox: bytes) -> str:
        """Check that the names in the token still lead where they must. These are the only look-ups, both cached.

        Returns the recipient's address.
        """
        named = token.sender if token.key else None  # without a key in the token, the key came from the name
        if isinstance(named, Name) and not await leads_to(self._resolver, named.text, token.app, key.address):
            raise unproven("The name in `iss` leads to an app key other than the one in `key`.")
        if not isinstance(token.recipient, Name):
            return _address(token.recipient)
        try:
            address = await self._resolver.address(token.recipient.text, token.app)
        # What is wrong with the recipient's chain is not the sender's business.
        except Unavailable as failure:
            raise unavailable(retry_after=failure.retry_after) from None
        except Refused:
            raise not_accepted() from None
        if self._hashes.inbox(address) != inbox:
            raise not_accepted()
        return address


def _address(recipient: PublicKey | Address) -> str:
    return recipient.text if isinstance(recipient, Address) else recipient.address


def may_deliver(policy: Policy, *, same_app: bool, named: bool, own: bool) -> bool:
    """Apply the owner's policy. `named`: the sender uses a name; `own`: the sender is the owner."""
    if not same_app:
        return False
    if own:  # moving an inbox delivers the owner's own entries, even to one that accepts nothing else
        return True
    if policy.blocked:
        return False
    return {"names": named, "anyone": True, "contacts": policy.contact, "nobody": False}[policy.accept]


def not_accepted() -> Refused:
    """The same refusal for no inbox, another app, a blocked sender, and a sender who is not on the list."""
    return Refused("not_accepted", "The delivery is not accepted.")
