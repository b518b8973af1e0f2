"""One inbox server as clients call it: every request of the protocol."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.delivery import delivery_body, entry_id
from inbox_server.client.events import Event, EventReader
from inbox_server.client.http_sessions import SILENCE_SECONDS, answer_of, ask
from inbox_server.client.refusals import FOR_NOW, InboxRefused, Problem, Silent, Unreachable, problem_of
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.clock import Clock, UnixTime
from inbox_server.outgoing.failures import why
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.strict_json import NotStrict, parse_object

PATH: Final = "/.well-known/message-inbox"
_MAX_ANSWER_BYTES: Final = 4 << 20  # a page of 1,000 entries has about 1.1 MB
STREAM_SECONDS: Final = 3600 - 60  # the longest life of a `read` token, minus time to renew it
_READ_TOKEN_SECONDS: Final = 3600
# The server sends a comment every 45 seconds: after two missed comments, it counts as gone.
STREAM_SILENCE_SECONDS: Final = 100.0
_EVENTS_TYPE: Final = "text/event-stream"
_NO_CONTENT: Final = 204

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may wait in total for a server that sends `Retry-After`."""

    seconds: float = 0.0
    sleep: Sleep = asyncio.sleep


PUSH: Final = "push"
_LISTS: Final = {PUSH: "push-list"}  # the rest of Web Push was there from the beginning
NO_PATIENCE: Final = Patience()


@dataclass(slots=True)
class Inbox:
    """`url` is the server's origin. `app` is the app's origin, and `key` the user's key for it.

    Tokens use this machine's clock until the server says that it is wrong; then they use the server's.
    """

    session: aiohttp.ClientSession
    url: str
    app: str
    key: AppKey
    clock: Clock
    patience: Patience = NO_PATIENCE
    skew: int = 0
    """By how many seconds the server's clock is ahead of this machine's."""
    is_timed: bool = False
    """Whether the server has taken a token or told its time: `now` is its time, to a minute."""

    @property
    def now(self) -> UnixTime:
        return UnixTime(self.clock() + self.skew)

    async def capabilities(self) -> dict[str, Any]:
        """The capability document. Checks its `origin`. Raises `InboxRefused` or `Unreachable`."""
        try:
            document = await self._ask("GET", PATH, None)
        except InboxRefused as refusal:
            said = f"{self.url} is not an inbox server, or not under this URL"
            if refusal.is_final:
                raise InboxRefused(refusal.status, refusal.code, said) from None
            if refusal.code or refusal.status in FOR_NOW or refusal.status >= 500:
                raise
            raise Unreachable(f"{said}: it answered {refusal.status}") from None
        if document.get("protocol") != "message-inbox":
            raise Unreachable(f"{self.url} is not an inbox server: it has no capability document")
        if document.get("origin") != self.url:
            raise Unreachable(f"{self.url} calls itself {document.get('origin')!r}: use that URL")
        return document

    async def takes(self, feature: str) -> bool:
        """Whether the server lists a feature of the protocol. Raises the same errors as the other methods."""
        features = (await self.capabilities()).get("features")
        return isinstance(features, list) and feature in features

    async def _require(self, feature: str) -> None:
        if not await self.takes(feature):
            detail = f"{self.url} cannot do that: its capability document does not list {feature!r}"
            raise InboxRefused(404, "not_found", detail)  # as the server itself would say

    async def claim(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Claim the inbox or change its settings. Raises `InboxRefused` or `Unreachable`, as all the others do."""
        body = json.dumps(settings).encode()
        return self._with("unread", await self._ask("PUT", "/v1/inbox", self._owner("settings", body), body))

    async def settings(self) -> dict[str, Any]:
        """The inbox's settings and state."""
        return self._with("unread", await self._ask("GET", "/v1/inbox", self._owner("read")))

    async def subscribe(self, subscription: Mapping[str, Any], channel: str = PUSH) -> None:
        """Subscribe a browser to Web Push: the result of `PushSubscription.toJSON()`, made with this server's key.

        With another channel, what the protocol page says of it: `{"room": …}` for `matrix`, `{"url": …}` for `webhook`.
        """
        if channel != PUSH:
            await self._require(channel)
        body = json.dumps(subscription).encode()
        await self._ask("PUT", f"/v1/inbox/{channel}", self._owner("settings", body), body, expects=_NO_CONTENT)

    async def subscriptions(self, channel: str = PUSH) -> dict[str, Any]:
        """`subscriptions`: each with a short `id`, its `service`, and `since`, the day it was last made."""
        await self._require(_LISTS.get(channel, channel))
        return self._with("subscriptions", await self._ask("GET", f"/v1/inbox/{channel}", self._owner("read")))

    async def unsubscribe(self, id: str | None, channel: str = PUSH) -> None:
        """Drop the subscription with this short id, or with None all of the channel. It may be gone already."""
        await self._require(_LISTS.get(channel, channel))
        body = b"" if id is None else json.dumps({"id": id}).encode()
        await self._ask("DELETE", f"/v1/inbox/{channel}", self._owner("settings", body), body, expects=_NO_CONTENT)

    async def deliver(self, message_id: str, *, sender: str, recipient: str, ttl: int | None = None) -> dict[str, Any]:
        """Deliver an encrypted message ID; repeating it is safe."""
        return await self.deliver_body(delivery_body(message_id, ttl), sender=sender, recipient=recipient)

    async def deliver_body(self, body: bytes, *, sender: str, recipient: str) -> dict[str, Any]:
        """Deliver exactly these bytes; repeating it is safe."""

        def sign() -> str:
            token = deliver_token(
                self.key, body, sender=sender, recipient=recipient, app=self.app, inbox=self.url, now=self.now
            )
            return f"Bearer {token}"

        return self._stored(body, await self._ask("POST", "/v1/messages", sign, body))

    async def log(self, after: int | None, nonce: str, limit: int) -> dict[str, Any]:
        """A page of the log. `nonce` is base64url of 16 random bytes. Only for a server that lists the feature."""
        query = f"nonce={nonce}&limit={limit}" + ("" if after is None else f"&after={after}")
        return self._with("signed", await self._ask("GET", f"/v1/inbox/log?{query}", self._owner("read")))

    async def deliver_sealed(self, body: bytes, ticket: bytes) -> dict[str, Any]:
        """Deliver with a ticket; repeating it is safe. The session should have no other connection of the sender's."""
        return self._stored(
            body, await self._ask("POST", "/v1/messages", lambda: f"InboxTicket {encode(ticket)}", body)
        )

    async def give_tickets(self, week: int, ids: bytes) -> None:
        """Send the sheet of a week: the ids of its tickets, 16 bytes each."""
        body = json.dumps({"week": week, "ids": encode(ids)}).encode()
        await self._ask("PUT", "/v1/inbox/tickets", self._owner("settings", body), body, expects=_NO_CONTENT)

    async def unread(
        self, after: str | None = None, limit: int | None = None, *, wait_seconds: int = 0
    ) -> dict[str, Any]:
        """A page of the feed, which the server holds for so long while it is empty."""
        named = (("after", after), ("limit", limit), ("wait", wait_seconds))
        query = "&".join(f"{name}={value}" for name, value in named if value)
        path, silence = "/v1/messages" + (f"?{query}" if query else ""), SILENCE_SECONDS + wait_seconds
        return await self._ask("GET", path, self._owner("read"), silence=silence)

    async def acknowledge(self, ids: list[str]) -> None:
        """Acknowledge these entries; at most 1,000."""
        body = json.dumps({"ids": ids}).encode()
        await self._ask("POST", "/v1/messages/ack", self._owner("ack", body), body, expects=_NO_CONTENT)

    async def forget(self) -> None:
        """Delete the inbox and everything in it."""
        await self._ask("DELETE", "/v1/inbox", self._owner("settings"), expects=_NO_CONTENT)

    async def events(
        self, after: str | None, silence_seconds: float = STREAM_SILENCE_SECONDS
    ) -> AsyncGenerator[Event | None, None]:
        """The feed as it changes, from a cursor or from the start. Yields None first, when something has come.

        Callers should leave the stream after `STREAM_SECONDS`, when the token expires. Raises `Silent`, too.
        """
        timeout, is_corrected = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_seconds), False
        while True:
            signed, headers = self.now, self._event_headers(after)
            async with (
                self._reaching(silence_seconds),
                self.session.get(
                    f"{self.url}/v1/events", headers=headers, timeout=timeout, allow_redirects=False
                ) as response,
            ):
                if response.status == 200:
                    async with contextlib.aclosing(self._events_in(response)) as events:
                        async for event in events:
                            yield event
                    return
                problem = problem_of(self.url, await answer_of(response, _MAX_ANSWER_BYTES))
                if is_corrected or not self._correct(problem, signed):
                    raise problem.refusal
                is_corrected = True

    def _event_headers(self, after: str | None) -> dict[str, str]:
        token = owner_token(
            self.key, scope="read", app=self.app, inbox=self.url, now=self.now, seconds=_READ_TOKEN_SECONDS
        )
        headers = {"Authorization": f"Bearer {token}", "Accept": _EVENTS_TYPE}
        return headers | ({"Last-Event-ID": after} if after else {})

    async def _events_in(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Event | None, None]:
        if response.content_type != _EVENTS_TYPE:
            raise self._other()
        reader, is_heard = EventReader(), False
        async for chunk in response.content.iter_any():
            if not is_heard:  # the server says something at once: what is silent is held back on the way
                is_heard = True
                yield None
            for event in reader.read(chunk):
                yield event

    def _with(self, member: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, checked to be one that only an inbox server gives. Raises `Unreachable`."""
        if member not in answer:
            raise self._other()
        return answer

    def _stored(self, body: bytes, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer to a delivery: only the `id` of what was delivered says that it is on disk."""
        if answer.get("id") != entry_id(body):
            raise self._other()
        return answer

    def _other(self) -> Unreachable:
        return Unreachable(f"{self.url} answered, but not as an inbox server does")

    def _owner(self, scope: str, body: bytes = b"") -> Callable[[], str]:
        def sign() -> str:
            token = owner_token(self.key, scope=scope, app=self.app, inbox=self.url, now=self.now, body=body)
            return f"Bearer {token}"

        return sign

    async def _ask(
        self,
        method: str,
        path: str,
        sign: Callable[[], str] | None,
        body: bytes | None = None,
        *,
        expects: int | None = None,
        silence: float = SILENCE_SECONDS,
    ) -> dict[str, Any]:
        """The answer: a JSON object, or {} with the status that is expected, if one is."""
        waited, is_corrected, is_renewed = 0.0, False, False
        while True:
            signed = self.now
            try:
                answer = await self._once(method, path, sign() if sign else None, body, expects, silence)
            except Problem as problem:
                refusal, pause = problem.refusal, problem.refusal.retry_after
                if not is_corrected and self._correct(problem, signed):
                    is_corrected = True
                elif refusal.code == "ttl_passed" and not is_renewed:  # it counts from `iat`, which a new token has now
                    is_renewed = True
                elif refusal.status in (429, 503) and pause is not None and waited + pause <= self.patience.seconds:
                    await self.patience.sleep(pause)
                    waited += pause
                else:
                    raise refusal from None
            else:
                self.is_timed = self.is_timed or sign is not None
                return answer

    async def _once(
        self,
        method: str,
        path: str,
        authorization: str | None,
        body: bytes | None,
        expects: int | None,
        silence: float,
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        most, url = _MAX_ANSWER_BYTES, self.url + path
        async with self._reaching(silence):
            answer = await ask(
                self.session, method, url, most=most, headers=headers, content=body, silence_seconds=silence
            )
        if not 200 <= answer.status < 300:
            raise problem_of(self.url, answer)
        if expects:
            if answer.status != expects:
                raise self._other()
            return {}
        try:
            return parse_object(answer.body)
        except NotStrict:
            raise self._other() from None

    def _correct(self, problem: Problem, signed: UnixTime) -> bool:
        """Whether the clock was the reason; it is now set to the server's. Each of several parallel requests asks."""
        theirs = problem.document.get("now")
        if problem.refusal.code != "bad_token" or type(theirs) is not int or theirs == signed:
            return False
        self.skew, self.is_timed = theirs - self.clock(), True
        return True

    @contextlib.asynccontextmanager
    async def _reaching(self, silence: float) -> AsyncIterator[None]:
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"{self.url} {why(error)}") from None
        except TimeoutError:
            raise Silent(f"{self.url} did not answer for {silence:g} seconds, or too slowly") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.url} {why(error)}") from None


def back_off(failures: int, random: float, *, most_seconds: float = 60.0) -> float:
    """Full jitter: anywhere up to a bound that doubles with each failure. `random` is from 0 to 1."""
    return random * min(most_seconds, math.ldexp(1.0, min(failures, 16)))
