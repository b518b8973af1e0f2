"""How far the logs of the own inboxes were checked: one file in the own bucket, which all devices share.

Nobody else knows how much arrived, or can move it (`own_file.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.client.own_file import Form, OwnFile
from inbox_server.client.user import AppUser
from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import decode, encode

CHECKPOINT_FILE: Final = "checkpoint.json"
_HEAD_BYTES: Final = 32


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


def _members(checkpoints: Checkpoints) -> dict[str, Any]:
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
    return {"inboxes": inboxes}


def _parse(members: Mapping[str, Any]) -> Checkpoints:
    return {str(inbox): _checkpoint(point) for inbox, point in members["inboxes"].items()}


def _checkpoint(members: Mapping[str, Any]) -> Checkpoint:
    head, at = decode(members["head"]), members.get("at", 0)
    since, signed, retention = members.get("since", at), members.get("signed", ""), members.get("retention", 0)
    numbers = (members["n"], at, since, retention)
    if any(type(number) is not int or number < 0 for number in numbers) or len(head) != _HEAD_BYTES:
        raise ValueError("is not a checkpoint")
    return Checkpoint(members["n"], head, UnixTime(at), UnixTime(since), str(signed), retention)


CHECKPOINTS: Final[Form[Checkpoints]] = Form(CHECKPOINT_FILE, {}, _members, _parse)


class SharedCheckpoints:
    """The file in the own bucket."""

    def __init__(self, user: AppUser) -> None:
        self._file = OwnFile(user, CHECKPOINTS)
        self._read: Checkpoints = {}
        self._tag: str | None = None

    async def read(self) -> Checkpoints:
        """Raises `BucketFailed`."""
        self._read, self._tag = {}, ""
        self._read, self._tag = await self._file.read()
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
        """Read, change and write, as `OwnFile.change` does it. Raises `BucketFailed`."""
        await self._file.change(change, replaces_bad=True)


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
