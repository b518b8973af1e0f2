"""What every case works with: the server under test, its clock and its limits, keys and tokens made for the run."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from inbox_server.checks.asking import APP, Answer, NoAnswer, Server
from inbox_server.client.appkey import AppKey
from inbox_server.conformance.cases import Failed, NotRun
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.observed import Observed
from inbox_server.conformance.replies import Reply
from inbox_server.protocol.base64url import encode

TOKEN_SECONDS: Final = 300
_PATIENCE_SECONDS: Final = 30  # in all, for one request that is answered with `Retry-After`
_FOR_NOW: Final = frozenset({"too_many", "names_unavailable", "stopping", "clock_jumped"})
_MOST_TRIES: Final = 60
_OLD: Final = 1  # a time at which no token is valid any more: the refusal tells the server's time
ABSENT: Final = object()
"""As a claim's value: leave the claim out."""

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Sleep = Callable[[float], Awaitable[None]]


class Bench:
    """`offset` is the lead of the server's clock in seconds. `names` are identities with names that the tester owns."""

    def __init__(
        self,
        server: Server,
        document: Mapping[str, Any],
        offset: float,
        random_bytes: Callable[[int], bytes],
        *,
        names: tuple[Identity, ...] = (),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.server = server
        self.document = document
        self.names = names
        self.observed = Observed()
        self.sleep = sleep
        self.random_bytes = random_bytes
        self._offset = offset

    @property
    def origin(self) -> str:
        """The `aud` of every token."""
        return str(self.document["origin"])

    @property
    def app(self) -> str:
        """The app of every inbox of the run."""
        return self.names[0].app if self.names else APP

    @property
    def seconds(self) -> float:
        """How long to wait for what should come at once."""
        return self.server.seconds

    @property
    def features(self) -> tuple[str, ...]:
        listed = self.document.get("features", [])
        return tuple(str(name) for name in listed) if isinstance(listed, list) else ()

    def now(self) -> int:
        """The server's time, to a second."""
        return int(self.server.clock() + self._offset)

    def limit(self, name: str) -> int:
        """A limit of the capability document. Raises `Failed` if it is not there."""
        limits = self.document.get("limits")
        value = limits.get(name) if isinstance(limits, dict) else None
        if type(value) is not int:
            raise Failed(f"the capability document has no limit {name}")
        return value

    def key(self) -> AppKey:
        return AppKey(self.random_bytes(32))

    def somebody(self) -> Identity:
        """A new key that nobody knows."""
        return Identity(self.key(), self.app)

    def by_key(self, identity: Identity) -> Identity:
        """The same key without its name."""
        return Identity(identity.key, identity.app)

    def text(self, characters: int = 64) -> str:
        """A new message ID."""
        return encode(self.random_bytes(characters))[:characters]

    async def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes = b"",
        headers: Headers | None = None,
        patient: bool = True,
        stays_open: bool = False,
        may_stop_early: bool = False,
    ) -> Reply:
        """The answer, whatever it is. When the server says `Retry-After`, wait and repeat, unless not `patient`.

        `may_stop_early`: a proxy that takes no such header, or knows no such host, may answer in the server's place.
        Raises `Failed` if there is no answer, `NotRun` if the server asks to wait for too long.
        """
        asked, waited = f"{method} {path.partition('?')[0]}", 0
        while True:
            try:
                answer: Answer = await self.server.ask(
                    method, path, token=token, body=body or None, headers=headers, stays_open=stays_open
                )
            except NoAnswer as error:
                raise Failed(f"{asked}: the server {error}") from None
            reply = Reply(asked, answer)
            if not may_stop_early or reply.code:
                self.observed.note(reply)
            after = reply.headers.get("Retry-After", "")
            if not patient or reply.code not in _FOR_NOW or not after.isdecimal():
                return reply
            if waited + int(after) > _PATIENCE_SECONDS:
                raise NotRun(f"{asked}: answered {reply.told}, to be repeated after {after} s")
            await self.sleep(int(after))
            waited += int(after)

    def owner_token(
        self,
        owner: Identity,
        scope: str,
        body: bytes = b"",
        *,
        issued: int | None = None,
        seconds: int = TOKEN_SECONDS,
        **claims: Any,
    ) -> str:
        """`claims` replace those of a good token; `ABSENT` leaves one out."""
        now = self.now() if issued is None else issued
        good = {"iss": owner.key.public, "app": owner.app, "aud": self.origin, "scope": scope}
        digest = {} if scope == "read" else {"digest": digest_of(body)}
        return _signed(owner.key, "inbox-owner+jwt", good | digest | {"iat": now, "exp": now + seconds} | claims)

    def deliver_token(
        self,
        sender: Identity,
        recipient: str,
        body: bytes,
        *,
        issued: int | None = None,
        seconds: int = TOKEN_SECONDS,
        **claims: Any,
    ) -> str:
        """`recipient` is a name, a key or an address; `claims` as in `owner_token`."""
        now = self.now() if issued is None else issued
        good = {"iss": sender.sender, "sub": recipient, "app": sender.app, "aud": self.origin}
        key = {"key": sender.key.public} if sender.name else {}
        times = {"digest": digest_of(body), "iat": now, "exp": now + seconds}
        return _signed(sender.key, "inbox-deliver+jwt", good | key | times | claims)

    async def deliver(
        self,
        recipient: str,
        text: str,
        *,
        sender: Identity | None = None,
        ttl: int | None = None,
        issued: int | None = None,
        patient: bool = True,
        **claims: Any,
    ) -> Reply:
        """Deliver from a new key, if no `sender` is given."""
        body = json.dumps({"message_id": text} | ({} if ttl is None else {"ttl": ttl})).encode()
        token = self.deliver_token(sender or self.somebody(), recipient, body, issued=issued, **claims)
        return await self.send("POST", "/v1/messages", token=token, body=body, patient=patient)

    async def until(self, second: int) -> None:
        """Wait until the server's time is past this."""
        while (rest := second + 1 - (self.server.clock() + self._offset)) > 0:
            await self.sleep(rest)

    async def second(self) -> int:
        """The server's time at this moment, as a refusal tells it. Raises `Failed` if it does not."""
        token = self.owner_token(self.somebody(), "read", issued=_OLD)
        reply = await self.send("GET", "/v1/messages", token=token)
        return reply.refused("bad_token", why="with a token from 1970").number("now")

    async def within_one_second(self, ask: Callable[[int], Awaitable[Reply]]) -> Reply:
        """What `ask`, which gets the server's time, was answered, if it was answered within that same second.

        So a token's times can be exactly at their limit. Raises `NotRun` if the server is too far away.
        """
        for _ in range(_MOST_TRIES):
            before = await self.second()
            reply = await ask(before)
            if await self.second() == before:
                return reply
        raise NotRun("three answers of this server take longer than a second")


def digest_of(body: bytes) -> str:
    return encode(hashlib.sha256(body).digest())


def id_of(text: str) -> str:
    """The id of an entry: base64url(SHA-256(message_id))."""
    return digest_of(text.encode())


def _signed(key: AppKey, typ: str, claims: Mapping[str, Any]) -> str:
    return key.token({name: value for name, value in claims.items() if value is not ABSENT}, typ)
