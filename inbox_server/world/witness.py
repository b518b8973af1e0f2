"""What an inbox server is told of deliveries while it answers them: for people to look at, which no server should do.

It stands before the two parts of a server that take deliveries, and keeps what each was given last.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from aiohttp import web

from inbox_server.clock import UnixTime
from inbox_server.http.app_keys import DELIVERIES, SEALED_DELIVERIES
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.storing import Taken
from inbox_server.protocol.base64url import NotBase64Url, decode

Way = Literal["signed", "sealed"]

_CLAIMS: Final[tuple[str, ...]] = ("iss", "key", "sub", "app")
_SHOWN_CHARACTERS: Final = 66  # a key


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery that was taken, as the server read it."""

    authorization: str
    body: bytes

    def says(self) -> dict[str, str]:
        """What is in it, by name, as far as it says anything of people or messages."""
        claims, members = _claims(self.authorization), json.loads(self.body)
        shown: dict[str, str] = {name: str(claims[name]) for name in _CLAIMS if name in claims}
        if not claims:
            shown["ticket"] = self.authorization.partition(" ")[2]
        shown |= {name: str(members[name]) for name in ("to", "message_id") if name in members}
        return {name: _short(text) for name, text in shown.items()}

    def find(self, marks: Mapping[str, bytes]) -> list[str]:
        """Which of the marks are anywhere in it."""
        claims = json.dumps(_claims(self.authorization))
        everything = b"\n".join([self.authorization.encode(), claims.encode(), self.body])
        return [what for what, mark in marks.items() if mark in everything]


@dataclass(slots=True)
class Witness:
    """The last delivery of each way that a server took."""

    told: dict[Way, Told] = field(default_factory=dict)

    def watch(self, app: web.Application) -> None:
        """Begin, before the application listens."""
        app[DELIVERIES] = cast(Deliveries, _Heard(app[DELIVERIES], "signed", self))
        app[SEALED_DELIVERIES] = cast(SealedDeliveries, _Heard(app[SEALED_DELIVERIES], "sealed", self))


class _Heard:
    """Stands before what takes deliveries of one way."""

    def __init__(self, deliveries: Deliveries | SealedDeliveries, way: Way, witness: Witness) -> None:
        self._deliveries = deliveries
        self._way: Way = way
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deliveries, name)

    async def deliver(self, authorization: str, body: bytes, now: UnixTime, *, network: bytes | None) -> Taken:
        taken = await self._deliveries.deliver(authorization, body, now, network=network)
        self._witness.told[self._way] = Told(authorization, body)
        return taken


@contextlib.contextmanager
def whole_log() -> Iterator[list[str]]:
    """Every line of this program's log, of all levels, as long as the context lasts."""
    log, kept = logging.getLogger(), list[str]()
    handler, level = _Lines(kept), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield kept
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))


def _claims(authorization: str) -> dict[str, Any]:
    """Of a token that was taken; none of a ticket."""
    _, _, shown = authorization.partition(" ")
    if "." not in shown:
        return {}
    try:
        claims: dict[str, Any] = json.loads(decode(shown.split(".")[1]))
    except (NotBase64Url, ValueError):
        return {}
    return claims


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
