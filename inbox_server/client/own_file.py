"""A file in the own bucket that all devices of one owner share.

It is encrypted to its owner and signed, like a message: nobody else can read or make it. A device writes it on
condition that no other has written it since it was read.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.ecies import BadEnvelope, CannotDecrypt, decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.user import AppUser
from inbox_server.protocol.strict_json import NotStrict, parse_object

_VERSION: Final = 1
_TRIES: Final = 4  # as many devices may write at once

T = TypeVar("T")


class BadOwnFile(BucketFailed):
    """The file is not what this key wrote. The message says why."""


class LaterOwnFile(BucketFailed):
    """A later version of a client wrote the file, so it is left as it is."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """What a file is called and says. `parse` raises LookupError, TypeError, ValueError or AttributeError.

    `block`: its JSON is filled up with spaces to a multiple of so many bytes, so that its size says less.
    """

    name: str
    empty: T
    members: Callable[[T], Mapping[str, Any]]
    parse: Callable[[Mapping[str, Any]], T]
    block: int = 1

    def render(self, content: T, user: AppUser) -> bytes:
        plain = json.dumps({"v": _VERSION, **self.members(content)}, separators=(",", ":"))
        plain += " " * (-len(plain) % self.block)
        key = user.key
        sealed = encrypt(key.public, plain, ephemeral=user.ephemeral(), iv=user.random_bytes(16), as_base64=True)
        return sign_envelope(key, sealed).encode()

    def read(self, content: bytes, key: AppKey) -> T:
        """Raises `BadOwnFile` or `LaterOwnFile`."""
        try:
            signer, sealed = open_envelope(content.decode())
            if signer.hex != key.public:
                raise BadOwnFile(f"{self.name} in your bucket is not signed by your key")
            plain = decrypt(key, sealed)
            members = parse_object(plain.encode() if isinstance(plain, str) else plain)
            if type(members["v"]) is int and members["v"] > _VERSION:
                raise LaterOwnFile(f"{self.name} in your bucket is of a later version: update this client")
            if members["v"] == _VERSION:
                return self.parse(members)
        except (BadEnvelope, CannotDecrypt, NotStrict, LookupError, ValueError, TypeError, AttributeError):
            pass
        raise BadOwnFile(f"{self.name} in your bucket is damaged, or is being written")


class OwnFile(Generic[T]):
    def __init__(self, user: AppUser, form: Form[T]) -> None:
        self._user = user
        self._form = form

    async def read(self) -> tuple[T, str | None]:
        """What it says, and its tag; the empty one and None if there is no file. Raises `BucketFailed`."""
        content, tag = await self._user.bucket.read_tagged(self._form.name)
        return (self._form.empty if content is None else self._form.read(content, self._user.key)), tag

    async def change(self, change: Callable[[T], T], *, replaces_bad: bool = False) -> T:
        """Read, change, and write on condition that nobody else has written; again if somebody has.

        Returns what the file says then. `replaces_bad`: one that cannot be read counts as empty. Raises `BucketFailed`.
        """
        name = self._form.name
        for _ in range(_TRIES):
            content, tag = await self._user.bucket.read_tagged(name)
            known, is_bad = self._form.empty, False
            try:
                known = known if content is None else self._form.read(content, self._user.key)
            except BadOwnFile:
                if not replaces_bad:
                    raise
                is_bad = True
            wanted = change(known)
            if wanted == known and not is_bad:
                return known
            if await self._user.bucket.replace(name, self._form.render(wanted, self._user), tag) is not None:
                return wanted
        raise BucketFailed(f"{name} in your bucket is written by other devices all the time, or is cached")
