"""How far the logs of the own inboxes were checked: one file in the own bucket, which all devices share.

It is encrypted to its owner and signed, like a message. Nobody else knows how much arrived, or can move it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.ecies import BadEnvelope, CannotDecrypt, decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.user import AppUser
from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.strict_json import NotStrict, parse_object

CHECKPOINT_FILE: Final = "checkpoint.json"
_HEAD_BYTES: Final = 32
_TRIES: Final = 4  # as many devices may finish an audit at once


class BadCheckpoint(BucketFailed):
    """The file is not what this key wrote. The message says why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in the log of one inbox, up to which everything was in order.

    `at`: when that was, by the server's clock. `since`: when this log began for its owner: at the claim, or at the
    first audit; nothing older is judged by it. `signed`: the server's own token for this head. `retention`: for how
    many seconds the server kept rows then.
    """

    n: int
    head: bytes
    at: UnixTime
    since: UnixTime
    signed: str = ""
    retention: int = 0


Checkpoints = Mapping[str, Checkpoint]
"""By the origin of the inbox server."""


def render_checkpoints(checkpoints: Checkpoints, user: AppUser) -> bytes:
    inboxes = {
        inbox: {
            "n": point.n,
            "head": encode(point.head),
            "at": point.at,
            "since": point.since,
            **({"signed": point.signed} if point.signed else {}),
            **({"retention": point.retention} if point.retention else {}),
        }
        for inbox, point in checkpoints.items()
    }
    plain = json.dumps({"v": 1, "inboxes": inboxes}, separators=(",", ":"))
    key = user.key
    sealed = encrypt(key.public, plain, ephemeral=user.ephemeral(), iv=user.random_bytes(16), as_base64=True)
    return sign_envelope(key, sealed).encode()


def parse_checkpoints(content: bytes, key: AppKey) -> dict[str, Checkpoint]:
    """Raises `BadCheckpoint`."""
    try:
        signer, sealed = open_envelope(content.decode())
        if signer.hex != key.public:
            raise BadCheckpoint(f"{CHECKPOINT_FILE} in your bucket is not signed by your key")
        plain = decrypt(key, sealed)
        members = parse_object(plain.encode() if isinstance(plain, str) else plain)
        if members["v"] != 1:
            raise BadCheckpoint(f"{CHECKPOINT_FILE} in your bucket is of a later version: update this client")
        return {str(inbox): _checkpoint(point) for inbox, point in members["inboxes"].items()}
    except (BadEnvelope, CannotDecrypt, NotStrict, NotBase64Url, LookupError, ValueError, TypeError, AttributeError):
        raise BadCheckpoint(f"{CHECKPOINT_FILE} in your bucket is damaged, or is being written") from None


def _checkpoint(members: Mapping[str, Any]) -> Checkpoint:
    head, at = decode(members["head"]), members.get("at", 0)
    since, signed, retention = members.get("since", at), members.get("signed", ""), members.get("retention", 0)
    numbers = (members["n"], at, since, retention)
    if any(type(number) is not int or number < 0 for number in numbers) or len(head) != _HEAD_BYTES:
        raise ValueError("is no checkpoint")
    return Checkpoint(members["n"], head, UnixTime(at), UnixTime(since), str(signed), retention)


class SharedCheckpoints:
    """The file in the own bucket."""

    def __init__(self, user: AppUser) -> None:
        self._user = user
        self._read: dict[str, Checkpoint] = {}
        self._tag: str | None = None

    async def read(self) -> Checkpoints:
        """Raises `BucketFailed`."""
        self._read, self._tag = {}, ""
        self._read, self._tag = await self._read_tagged()
        return self._read

    @property
    def is_new(self) -> bool:
        """Whether there was no file when it was read: no device has checked any log yet."""
        return self._tag is None

    async def write(self, changed: Mapping[str, Checkpoint | None]) -> None:
        """Change these; None drops one. Raises `BucketFailed`.

        One that another device has changed since `read` is kept if it is further. A damaged file counts as empty.
        """
        read = self._read
        await self.change(lambda known: _merged(known, changed, read))

    async def change(self, change: Callable[[Checkpoints], Checkpoints]) -> None:
        """Read, change, and write on condition that nobody else has written; again if somebody has."""
        for _ in range(_TRIES):
            known, tag = await self._read_for_writing()
            wanted = change(known or {})
            if wanted == known:
                return
            content = render_checkpoints(wanted, self._user)
            if await self._user.bucket.replace(CHECKPOINT_FILE, content, tag) is not None:
                return
        raise BucketFailed(f"{CHECKPOINT_FILE} in your bucket is written by other devices all the time, or is cached")

    async def _read_for_writing(self) -> tuple[dict[str, Checkpoint] | None, str | None]:
        """None for a damaged file: the next one takes its place."""
        content, tag = await self._user.bucket.read_tagged(CHECKPOINT_FILE)
        try:
            return ({} if content is None else parse_checkpoints(content, self._user.key)), tag
        except BadCheckpoint:
            return None, tag

    async def _read_tagged(self) -> tuple[dict[str, Checkpoint], str | None]:
        content, tag = await self._user.bucket.read_tagged(CHECKPOINT_FILE)
        return ({} if content is None else parse_checkpoints(content, self._user.key)), tag


def _merged(known: Checkpoints, changed: Mapping[str, Checkpoint | None], read: Checkpoints) -> dict[str, Checkpoint]:
    merged = dict(known)
    for inbox, point in changed.items():
        theirs = known.get(inbox)
        is_theirs_newer = theirs is not None and theirs != read.get(inbox)
        if is_theirs_newer and theirs and point and (theirs.since, theirs.n) >= (point.since, point.n):
            continue
        if point is None:
            merged.pop(inbox, None)
        else:
            merged[inbox] = point
    return merged
