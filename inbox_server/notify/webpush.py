"""Notifications by Web Push (RFC 8030), to the browsers that an owner subscribed.

The payload is a constant, encrypted as RFC 8291 says. Neither its content nor its size reveals anything except that
this is a notification. What waits is in the unread list, which needs a token.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

import http_ece
from yarl import URL

from inbox_server.clock import DAY_SECONDS
from inbox_server.errors import Unavailable
from inbox_server.notify.channel import Tally
from inbox_server.notify.sealing import NotOurs, Sealer
from inbox_server.notify.vapid import SEED_BYTES, VapidKey, p256_key
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable
from inbox_server.protocol.push_subscription import Subscription
from inbox_server.store.contract import Store, Subscribed

PAYLOAD: Final = b'{"message-inbox":1}'  # the protocol and its version: nothing of what waits
_SALT_BYTES: Final = 16
_HEADERS: Final = {
    "Content-Encoding": "aes128gcm",
    "Content-Type": "application/octet-stream",
    "TTL": str(DAY_SECONDS),  # a browser that was offline for longer checks by itself when it is opened
    "Topic": "inbox",  # the next notification replaces one that still waits at the push service
    "Urgency": "normal",
}

log = logging.getLogger(__name__)


class WebPush:
    """Implements `contract.Channel`. `random_bytes` is `secrets.token_bytes` outside tests."""

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        sealer: Sealer,
        vapid: VapidKey,
        tally: Tally,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._sealer = sealer
        self._vapid = vapid
        self._tally = tally
        self._random_bytes = random_bytes

    def about(self, inbox: bytes, *, subscribed: bool) -> bytes | None:
        return inbox if subscribed else None

    async def notify(self, inbox: bytes) -> None:
        kept = await self._store.subscriptions(inbox)
        await asyncio.gather(*(self._tell(inbox, each) for each in kept))

    async def _tell(self, inbox: bytes, kept: Subscribed) -> None:
        try:
            subscription = self._sealer.open(kept.sealed, inbox)
            await self._fetcher.post(
                subscription.endpoint,
                encrypt(PAYLOAD, subscription, self._random_bytes),
                {**_HEADERS, "Authorization": self._vapid.authorization(str(URL(subscription.endpoint).origin()))},
            )
        except Absent:
            self._tally.gone += 1
            with contextlib.suppress(Unavailable):  # the disk failed; the next notification tries again
                await self._store.drop_subscription(inbox, kept)
        except Unreachable:
            self._tally.failed += 1
        except NotOurs:
            self._tally.failed += 1
            log.error("a push subscription cannot be opened: the database is damaged")  # noqa: TRY400 — no traceback
        else:
            self._tally.sent += 1


def encrypt(payload: bytes, subscription: Subscription, random_bytes: Callable[[int], bytes]) -> bytes:
    """The body of a push message (RFC 8291), encrypted with a new key pair and salt."""
    encrypted: bytes = http_ece.encrypt(
        payload,
        private_key=p256_key(random_bytes(SEED_BYTES)),
        salt=random_bytes(_SALT_BYTES),
        dh=subscription.p256dh,
        auth_secret=subscription.auth,
        version="aes128gcm",
    )
    return encrypted
