"""One user of one app: the five steps, on top of a bucket, the look-ups and an inbox server.

Publishing comes first: the app's key and the signed inbox card go into the user's bucket.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import Bucket
from inbox_server.client.ecies import decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.inbox import Inbox
from inbox_server.client.protocol import CARD_FILE, KEY_FILE, Card, Pointer, make_card, make_message_id, read_card
from inbox_server.clock import Clock
from inbox_server.fetch import Absent, Fetcher
from inbox_server.keys import PublicKey
from inbox_server.resolver.chain import ChainResolver

_MAX_FILE_BYTES = 1 << 20


class NotReachable(Exception):
    """The recipient has no inbox card that can be trusted, so nothing was sent."""


class NotAuthentic(Exception):
    """A fetched message is not by whom its pointer says."""


@dataclass(frozen=True, slots=True)
class AppUser:
    """`name` is the user's BNS name and `app` the app's origin; `random_bytes` is `secrets.token_bytes`."""

    name: str
    app: str
    key: AppKey
    bucket: Bucket
    resolver: ChainResolver
    fetcher: Fetcher
    clock: Clock
    random_bytes: Callable[[int], bytes] = field(repr=False)

    def inbox(self, url: str) -> Inbox:
        """An inbox server, as this user calls it."""
        return Inbox(self.bucket.session, url, self.app, self.key, self.clock)

    async def publish(self, inboxes: tuple[str, ...], *, seq: int) -> None:
        """Write the app public key and the signed inbox card into the bucket."""
        await self.bucket.write(KEY_FILE, json.dumps(self.key.public).encode())
        await self.bucket.write(CARD_FILE, make_card(self.key, inboxes, seq=seq, now=self.clock()))

    async def look_up(self, recipient: str) -> tuple[PublicKey, Card]:
        """A recipient's app key and inbox card, both checked against the bucket's address. Raises `NotReachable`."""
        bucket = await self.resolver.bucket(recipient, self.app)
        key = await self.resolver.bucket_key(bucket)
        try:
            body = await self.fetcher.get(bucket.url + CARD_FILE, max_bytes=_MAX_FILE_BYTES)
        except Absent:
            raise NotReachable("the recipient published no inbox card") from None
        return key, read_card(body, address=bucket.address, now=self.clock())

    async def write_message(self, text: str, recipient: PublicKey) -> str:
        """Step 1: store the message, encrypted and signed, in the own bucket; its ID."""
        id = self.random_bytes(16).hex()
        encrypted = encrypt(recipient.hex, text, ephemeral=self._ephemeral(), iv=self.random_bytes(16))
        await self.bucket.write(f"outbox/{id}.json", sign_envelope(self.key, encrypted).encode())
        return id

    def encrypt_id(self, id: str, recipient: PublicKey) -> str:
        """Step 2: the message ID as the recipient's inbox gets to see it: 816 opaque characters."""
        pointer = Pointer(id, self.name, self.app)
        return make_message_id(pointer, recipient.hex, ephemeral=self._ephemeral(), iv=self.random_bytes(16))

    async def fetch(self, pointer: Pointer) -> str:
        """Step 5: the message a pointer leads to, from its sender's bucket. Raises `NotAuthentic`."""
        bucket = await self.resolver.bucket(pointer.sender, self.app)
        body = await self.fetcher.get(f"{bucket.url}outbox/{pointer.id}.json", max_bytes=_MAX_FILE_BYTES)
        signer, encrypted = open_envelope(body.decode())
        if signer.address != bucket.address:
            raise NotAuthentic("the message is not signed by the key of the sender's bucket")
        text = decrypt(self.key, encrypted)
        return text if isinstance(text, str) else text.decode()

    def _ephemeral(self) -> AppKey:
        return AppKey(self.random_bytes(32))
