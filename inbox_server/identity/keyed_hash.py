"""Keyed hashes: the database holds these in place of addresses, names and apps.

Names and their addresses are public, so anybody with a copy of the database could look up a plain hash. A keyed hash
needs the server's secret: without it, a copy of the database matches nobody. This does not protect against the
operator, who has both.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Final

SECRET_BYTES: Final = 32
HASH_BYTES: Final = 16
MOST_REMEMBERED: Final = 4096  # of each kind that is remembered; about 300 bytes each


class KeyedHash:
    """HMAC-SHA256 under the server's secret, cut to 16 bytes, with a label for each use.

    The hashes of recipients and owners are remembered: of their addresses, of their names, and of their inboxes' apps.
    Those of senders, and of pairs, are made anew each time.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError("the secret must have 32 bytes")
        self._secret = secret
        remembering = lru_cache(maxsize=MOST_REMEMBERED)
        self._inboxes = remembering(self._inbox)
        self._names = remembering(self._name)
        self._apps = remembering(self._app)

    def __repr__(self) -> str:
        return "KeyedHash(<secret>)"

    def remembered(self) -> dict[str, float]:
        """How many hashes are remembered, by their kind."""
        kinds = {"hashed_inboxes": self._inboxes, "hashed_names": self._names, "hashed_apps": self._apps}
        return {kind: hashes.cache_info().currsize for kind, hashes in kinds.items()}

    def inbox(self, address: str) -> bytes:
        """The inbox of a recipient's or owner's app address."""
        return self._inboxes(address)

    def is_inbox_of(self, inbox: bytes, address: str) -> bool:
        """Whether this is the inbox of an address, which may be a sender's: it is not remembered."""
        return self._inbox(address) == inbox

    def name(self, name: str, app: str) -> bytes:
        """A recipient's or owner's name within one app."""
        return self._names(name, app)

    def app(self, inbox: bytes, app: str) -> bytes:
        """The app that an inbox was claimed for; different for each inbox, so that users of one app do not group."""
        return self._apps(inbox, app)

    def listed(self, inbox: bytes, address: str) -> bytes:
        """An address on one inbox's contact or block list."""
        return self._blind(b"list", inbox, address.encode())

    def ticket(self, inbox: bytes, id: bytes) -> bytes:
        """A ticket on a sheet of an inbox, by its id."""
        return self._blind(b"ticket", inbox, id)

    def ticket_and_use(self, inbox: bytes, id: bytes, entry: bytes) -> tuple[bytes, bytes]:
        """A ticket, as `ticket` has it, and that it was used for an entry, by its id.

        The half that is cut off the first is the key of the second: nobody without the secret has it.
        """
        whole = hmac.digest(self._secret, b"\0".join((b"ticket", inbox, id)), "sha256")
        return whole[:HASH_BYTES], hashlib.sha256(whole[HASH_BYTES:] + entry).digest()[:HASH_BYTES]

    def invite(self, code: str) -> bytes:
        """A one-time invite code."""
        return self._blind(b"invite", code.encode())

    def request(self, method: str, body: bytes) -> bytes:
        """A settings request, to recognise a repeat. Keyed, because its body may hold a name that can be guessed."""
        return self._blind(b"request", method.encode(), body)

    def endpoint(self, inbox: bytes, where: str) -> bytes:
        """Where an inbox's owner is told, by whatever channel; different for each inbox."""
        return self._blind(b"push", inbox, where.encode())

    def sealing_key(self, channel: str) -> bytes:
        """The AES key that the addresses of a channel are sealed with, 32 bytes."""
        return hmac.digest(self._secret, b"seal\0" + channel.encode(), "sha256")

    def transaction(self, room: str, slot: int) -> str:
        """Marks one message to a room within one slot of time, so that a repeat of it is none: 32 hex characters."""
        return self._blind(b"transaction", room.encode(), b"%d" % slot).hex()

    def vapid_seed(self) -> bytes:
        """The seed of the key that identifies this server to push services, 64 bytes."""
        return hmac.digest(self._secret, b"vapid", "sha512")

    def receipt_seed(self) -> bytes:
        """The seed of the key that signs receipts and the heads of logs, 64 bytes."""
        return hmac.digest(self._secret, b"receipt", "sha512")

    def operator_token(self) -> str:
        """What a command shows to the server that runs: whoever knows the secret may operate it."""
        return self._blind(b"operator").hex()

    def check_value(self) -> bytes:
        """Kept in the database, so that a start with another secret is noticed."""
        return self._blind(b"check")

    def _inbox(self, address: str) -> bytes:
        return self._blind(b"inbox", address.encode())

    def _name(self, name: str, app: str) -> bytes:
        return self._blind(b"name", name.encode(), app.encode())

    def _app(self, inbox: bytes, app: str) -> bytes:
        return self._blind(b"app", inbox, app.encode())

    def _blind(self, *parts: bytes) -> bytes:
        return hmac.digest(self._secret, b"\0".join(parts), "sha256")[:HASH_BYTES]
