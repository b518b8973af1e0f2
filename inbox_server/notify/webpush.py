"""Notifications by Web Push (RFC 8030), to the browsers that an owner subscribed.

The payload is a constant, encrypted as RFC 8291 says. Neither its content nor its size reveals anything except that
this is a notification. What waits is in the unread list, which needs a token.
"""

from collections.abc import Callable
from typing import Any, Final

from yarl import URL

from inbox_server.clock import DAY_SECONDS
from inbox_server.identity.p256 import POINT_BYTES
from inbox_server.notify.channel import Address, Kind
from inbox_server.notify.on_demand import loaded
from inbox_server.notify.vapid import SEED_BYTES, VapidKey, private_number
from inbox_server.outgoing.fetch import Fetcher
from inbox_server.protocol.push_subscription import AUTH_BYTES, MAX_ENDPOINT_CHARACTERS
from inbox_server.protocol.requests import MAX_SUBSCRIPTIONS, parse_subscription

PAYLOAD: Final = b'{"message-inbox":1}'  # the protocol and its version: nothing of what waits
_SALT_BYTES: Final = 16
_HEADERS: Final = {
    "Content-Encoding": "aes128gcm",
    "Content-Type": "application/octet-stream",
    "TTL": str(DAY_SECONDS),  # a browser that was offline for longer checks by itself when it is opened
    "Topic": "inbox",  # the next notification replaces one that still waits at the push service
    "Urgency": "normal",
}


class WebPush:
    """Implements `channel.OwnerChannel`. `random_bytes` is `secrets.token_bytes` outside tests.

    An address is an endpoint, and its keys are the browser's: p256dh, then auth.
    """

    kind: Final = Kind(
        name="push",
        feature="push-list",  # the rest of it was there from the beginning
        member="endpoint",
        most=MAX_SUBSCRIPTIONS,
        where_characters=MAX_ENDPOINT_CHARACTERS,
        keys_bytes=POINT_BYTES + AUTH_BYTES,
        at_once=32,  # each goes to at most 8 browsers
    )

    def __init__(
        self, fetcher: Fetcher, vapid: VapidKey, random_bytes: Callable[[int], bytes], *, allow: frozenset[str]
    ) -> None:
        self._fetcher = fetcher
        self._vapid = vapid
        self._random_bytes = random_bytes
        self._allow = allow

    def capability(self) -> dict[str, Any]:
        return {"vapid_key": self._vapid.public}

    def parse(self, body: bytes) -> Address:
        subscription = parse_subscription(body, allow=self._allow)
        return Address(subscription.endpoint, subscription.p256dh + subscription.auth)

    async def admit(self, address: Address) -> None:
        """Nobody can tell: a push service answers when it is pushed to."""

    def service(self, address: Address) -> str:
        return str(URL(address.where).origin())

    async def tell(self, address: Address) -> None:
        authorization = self._vapid.authorization(self.service(address))
        body = encrypt(PAYLOAD, address, self._random_bytes)
        await self._fetcher.post(address.where, body, {**_HEADERS, "Authorization": authorization})


def encrypt(payload: bytes, address: Address, random_bytes: Callable[[int], bytes]) -> bytes:
    """The body of a push message (RFC 8291), encrypted with a new key pair and salt."""
    encrypted: bytes = loaded().encrypt(
        payload,
        private=private_number(random_bytes(SEED_BYTES)),
        salt=random_bytes(_SALT_BYTES),
        point=address.keys[:POINT_BYTES],
        auth=address.keys[POINT_BYTES:],
    )
    return encrypted
