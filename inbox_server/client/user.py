"""One user of one app: the parts of the five steps, built on a bucket, the look-ups and inbox servers.

It remembers nothing; `inbox_client.py` does, and is what programs use.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import Bucket, BucketFailed
from inbox_server.client.ecies import BadEnvelope, CannotDecrypt, decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.http_sessions import SLOWEST_BYTES
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.sealed import Offer
from inbox_server.client.tokens_and_cards import (
    CARD_FILE,
    KEY_FILE,
    BadCard,
    Card,
    CardNotNow,
    CardNotWhole,
    Pointer,
    make_card,
    make_message_id,
    read_card,
)
from inbox_server.clock import Clock, UnixTime
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.identity.names import Address, Name, NotAnIdentity, parse_recipient
from inbox_server.outgoing.fetch import Absent, Fetcher, Forbidden
from inbox_server.outgoing.fetch import Unreachable as HostFailed
from inbox_server.protocol.strict_json import is_whole
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.contract import Missing
from inbox_server.resolver.profile import Bucket as Place

_MAX_MESSAGE_BYTES: Final = 25 << 20  # hubs take 20 MB; this leaves no room for base64 or hex
_MAX_CARD_BYTES: Final = 1 << 16


class NotReachable(Exception):
    """The recipient has no inbox card that can be trusted, so nothing was sent."""


class NotValidNow(NotReachable):
    """The card has expired or is not valid yet, or the clock here is wrong."""


class NotAuthentic(Exception):
    """A fetched message is not from the sender that its pointer names, or is not a message at all."""


class NameNotProven(NotReachable):
    """The name leads nowhere: it is unknown, or a link of its chain is broken."""


class NotForNow(Exception):
    """A name service or a bucket's host did not answer. Repeating the request may help."""


class NotThere(NotForNow):
    """The message at a pointer is missing or incomplete. A name, a host or a write may have failed for a while."""


class CardUnread(NotForNow):
    """The recipient's card at `url` cannot be read for now, but `key` is known: a message can wait for the card."""

    def __init__(self, why: str, url: str, key: PublicKey) -> None:
        super().__init__(why)
        self.url = url
        self.key = key


@dataclass(frozen=True, slots=True)
class AppUser:
    """`name` is the user's BNS name, if any, and `app` the app's origin; `random_bytes` is `secrets.token_bytes`.

    `prefixes` end with a slash: below them are the buckets of people without a name.
    """

    name: str | None
    app: str
    key: AppKey
    bucket: Bucket
    resolver: ChainResolver
    fetcher: Fetcher
    clock: Clock
    random_bytes: Callable[[int], bytes] = field(repr=False)
    prefixes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Who sends: the name, or the key itself."""
        return self.name or self.key.public

    def inbox(self, url: str) -> Inbox:
        """An inbox server, as this user calls it."""
        return Inbox(self.bucket.session, url, self.app, self.key, self.clock)

    async def publish(
        self,
        inboxes: tuple[str, ...],
        *,
        seq: int,
        now: UnixTime | None = None,
        is_first: bool = False,
        receipt_keys: tuple[str | None, ...] = (),
        offer: Offer | None = None,
    ) -> bool:
        """Write the app public key and the signed inbox card into the bucket. `now`: a better time, if known.

        `is_first` keeps an existing card. Returns whether the card was written. Raises `BucketFailed`.
        """
        card = make_card(self.key, inboxes, seq=seq, now=now or self.clock(), receipt_keys=receipt_keys, offer=offer)
        await self.bucket.write(KEY_FILE, json.dumps(self.key.public).encode())
        if is_first:
            return await self.bucket.create(CARD_FILE, card)
        return bool(await self.bucket.write(CARD_FILE, card))

    async def published_card(self) -> bytes | None:
        """The own card's file, even if the hub has moved; None if there is none. Raises `BucketFailed`."""
        try:
            return await self.fetcher.get(self.bucket.url + CARD_FILE, max_bytes=_MAX_CARD_BYTES)
        except Absent:
            return None
        except HostFailed:
            raise BucketFailed(f"your bucket's host cannot be reached, or did not give {CARD_FILE}") from None

    async def look_up(self, recipient: str, *, now: UnixTime | None = None) -> tuple[PublicKey, Card]:
        """A recipient's app key and inbox card, both checked against the bucket's address.

        Raises `NotReachable` (`NotValidNow` if the card is good but not valid now) or `NotForNow` (`CardUnread` if
        the key is known).
        """
        reason = "its bucket is unknown: name the hub that holds it"
        async for place in self._places(recipient):
            try:
                body = await self.fetcher.get(place.url + CARD_FILE, max_bytes=_MAX_CARD_BYTES)
                card = read_card(body, address=place.address, now=now or self.clock())
                return await self.resolver.bucket_key(place), card
            except CardNotNow as error:
                raise NotValidNow(f"{recipient} has no inbox that can be trusted: {_reason(error)}") from None
            except CardNotWhole as error:
                raise await self._card_unread(place, _reason(error)) from None
            except Unavailable as error:
                raise NotForNow(error.detail) from None
            except (Absent, BadCard, Refused) as error:
                reason = _reason(error)
            except Forbidden:
                reason = "its bucket's URL is not asked: it must be an https URL of a public name, at the usual port"
            except HostFailed:
                why = "the host of the recipient's bucket cannot be reached, or may not be asked"
                raise await self._card_unread(place, why) from None
        raise NotReachable(f"{recipient} has no inbox that can be trusted: {reason}")

    async def _card_unread(self, place: Place, why: str) -> NotForNow:
        try:
            return CardUnread(why, place.url + CARD_FILE, await self.resolver.bucket_key(place))
        except Refused:
            return NotForNow(why)

    async def write_message(self, content: str | bytes, recipient: PublicKey) -> str:
        """Step 1: store the message, encrypted and signed, in the own bucket; returns its ID. Raises `BucketFailed`."""
        id = self.random_bytes(16).hex()
        encrypted = encrypt(recipient.hex, content, ephemeral=self.ephemeral(), iv=self.random_bytes(16))
        await self.bucket.write(f"outbox/{id}.json", sign_envelope(self.key, encrypted).encode())
        return id

    def pointer(self, id: str) -> Pointer:
        """To a message in the own bucket."""
        return Pointer(id, self.identity, self.app, "" if self.name else self.bucket.url)

    def encrypt_id(self, id: str, recipient: PublicKey) -> str:
        """Step 2: the message ID as the recipient's inbox sees it: 816 opaque characters."""
        return self.encrypt_pointer(self.pointer(id), recipient)

    def encrypt_pointer(self, pointer: Pointer, recipient: PublicKey) -> str:
        """The same for a pointer that may have a link. Raises ValueError if it has no room."""
        return make_message_id(pointer, recipient.hex, ephemeral=self.ephemeral(), iv=self.random_bytes(16))

    async def fetch(self, pointer: Pointer) -> str:
        """Step 5: the message a pointer leads to, from its sender's bucket, as text.

        Raises `NotAuthentic`, `NotReachable` or `NotForNow`.
        """
        content, _ = await self.fetch_signed(pointer)
        return content if isinstance(content, str) else content.decode()

    async def fetch_signed(self, pointer: Pointer) -> tuple[str | bytes, PublicKey]:
        """The message as it was written, and the key that signed it: the one of the sender's bucket.

        Raises `NotAuthentic`, `NotReachable` or `NotForNow`, which is `NotThere` while nothing is there.
        """
        if pointer.app != self.app:
            raise NotAuthentic("the message is for another app")
        try:
            async for place in self._places(pointer.sender, pointer.url):
                with contextlib.suppress(Absent):
                    return await self._fetch_from(place, pointer.id)
        except HostFailed:
            raise NotForNow("the sender's bucket cannot be reached, or may not be asked") from None
        except NameNotProven as error:
            raise NotThere(str(error)) from None
        raise NotThere("the message is not in any bucket of the sender's that may be asked")

    async def key_of(self, address: str) -> str:
        """The key of the bucket at an address below the user's prefixes, in hex; empty if no bucket is there.

        Raises `NotForNow` or `NotReachable`.
        """
        failure: Exception | None = None
        async for place in self._places(address):
            try:
                return (await self.resolver.bucket_key(place)).hex
            except Missing:
                continue
            except Unavailable as unavailable:
                failure = NotForNow(unavailable.detail)
            except Refused as refusal:
                failure = NotReachable(f"{address}: {refusal.detail}")
        if failure:
            raise failure
        return ""

    async def fetch_file(self, identity: str, url: str, key: str, path: str) -> bytes | None:
        """A file from the bucket of somebody whose key is known; None if there is none.

        Raises `NotForNow` or `NotReachable`.
        """
        address = parse_key(key).address
        try:
            async for place in self._places(identity, url):
                if place.address != address:
                    raise NotReachable(f"{identity} has another key now")
                with contextlib.suppress(Absent):
                    return await self.fetcher.get(place.url + path, max_bytes=_MAX_MESSAGE_BYTES, slowest=SLOWEST_BYTES)
        except HostFailed:
            raise NotForNow(f"the bucket of {identity} cannot be reached, or may not be asked") from None
        return None

    async def _fetch_from(self, place: Place, id: str) -> tuple[str | bytes, PublicKey]:
        url = f"{place.url}outbox/{id}.json"
        body = await self.fetcher.get(url, max_bytes=_MAX_MESSAGE_BYTES, slowest=SLOWEST_BYTES)
        if not is_whole(body):
            raise NotThere("the message is not whole: it is being written, or its upload was cut off")
        try:
            signer, encrypted = open_envelope(body.decode())
            if signer.address != place.address:
                raise NotAuthentic("the message is not signed by the key of the sender's bucket")
            return decrypt(self.key, encrypted), signer
        except (BadEnvelope, CannotDecrypt) as error:
            raise NotAuthentic(f"the message {_reason(error)}") from None

    async def _places(self, identity: str, url: str = "") -> AsyncIterator[Place]:
        """Where an identity's bucket is, or may be. Raises `NotReachable` or `NotForNow`."""
        try:
            parsed = parse_recipient(identity)
            if isinstance(parsed, Name):
                yield await self.resolver.bucket(parsed.text, self.app)
                return
        except NotAnIdentity as error:
            raise NotReachable(f"{identity} {error}") from None
        except Unavailable as failure:
            raise NotForNow(failure.detail) from None
        except Refused as refusal:
            raise NameNotProven(f"{identity}: {refusal.detail}") from None
        address = parsed.text if isinstance(parsed, Address) else parsed.address
        stated = parsed.hex if isinstance(parsed, PublicKey) else None
        buckets = [f"{prefix}{address}/" for prefix in self.prefixes]
        # The pointer's URL only chooses among the prefixes that the user trusts.
        for bucket in sorted(buckets, key=lambda bucket: not url.startswith(bucket)):
            yield Place(bucket, address, stated)

    def ephemeral(self) -> AppKey:
        """A new key, to be used once."""
        return AppKey(self.random_bytes(32))


def _reason(error: Exception) -> str:
    if isinstance(error, Absent):
        return "no inbox card is published"
    if isinstance(error, Refused):
        return error.detail
    return f"the inbox card {error}" if isinstance(error, BadCard) else str(error)
