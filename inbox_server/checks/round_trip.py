"""A message's whole way through a server: claim a throw-away inbox, deliver one message, and delete the inbox.

Both keys are made for this check and then forgotten. It touches nobody else's inbox.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inbox_server.checks.answers import Times, wrong_caching
from inbox_server.checks.asking import APP, Answer, NoAnswer
from inbox_server.checks.results import Findings, quoted
from inbox_server.checks.streams import check_events, check_waiting, open_stream
from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.protocol.base64url import encode

_MESSAGE_ID_BYTES: Final = 612  # 816 characters, as every encrypted ID has
_RETENTION_SECONDS: Final = 3600  # the shortest allowed, in case the inbox is left behind
_STEPS: Final = ("claim", "deliver", "events", "waiting", "list", "acknowledge")
_CLEAN_UPS: Final = 3  # attempts to delete the throw-away inbox
_TIMEOUTS: Final = (
    "nginx: `proxy_read_timeout 2m`; HAProxy: `timeout client 2m`, `timeout server 2m`;"
    " h2o: `proxy.timeout.io: 120000`."
)
_REMEDIES: Final = {
    "too_many": "Wait for the hour to pass.",
    "storage_full": "See the server's log: is its disk full, or its database away? docs/troubleshooting.md says more.",
    "moving": "See the server's log; an inbox whose shard is being moved is there again soon.",
    "clock_jumped": "Set the server's clock right: docs/troubleshooting.md, The clock is wrong.",
    "internal": "See the server's log.",
}


class StepFailed(Exception):
    """A step failed. `refused` means that the server itself refused, and did nothing."""

    def __init__(self, step: str, said: str, advice: str, *, refused: bool = False) -> None:
        super().__init__(said)
        self.step = step
        self.advice = advice
        self.refused = refused


class NotTaken(Exception):
    """Registration does not accept a throw-away key; the text says why."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """`owner` has the inbox, `sender` writes to it. Every step raises `StepFailed`."""

    times: Times
    owner: AppKey
    sender: AppKey
    message_id: str

    @property
    def id(self) -> str:
        return encode(hashlib.sha256(self.message_id.encode()).digest())

    async def claim(self, invite: str | None) -> None:
        """Also raises `NotTaken`; then nothing was claimed."""
        settings = {"accept": "anyone", "retention": _RETENTION_SECONDS, **({"invite": invite} if invite else {})}
        answer = await self._ask("claim", "PUT", "/v1/inbox", "settings", json.dumps(settings).encode())
        if answer.code in ("too_many", "draining") or (answer.code == "not_registered" and not invite):
            raise NotTaken(quoted(answer.members.get("detail", answer.code)))
        _expect("claim", answer, 201)

    async def deliver(self) -> None:
        body = json.dumps({"message_id": self.message_id}).encode()
        key, audience = self.sender, self.times.audience
        recipient, now = self.owner.public, self.times.now()
        token = deliver_token(key, body, sender=key.public, recipient=recipient, app=APP, inbox=audience, now=now)
        answer = await self._send("deliver", "POST", "/v1/messages", token, body)
        _expect("deliver", answer, 201)
        if answer.members.get("id") != self.id:
            raise StepFailed("deliver", "the answer has another id than the message ID's hash", "Is it this protocol?")

    async def unread(self, step: str) -> list[str]:
        """The unread message IDs."""
        answer = await self._ask(step, "GET", "/v1/messages", "read")
        _expect(step, answer, 200)
        wrong = wrong_caching(answer)
        if wrong:
            raise StepFailed(step, wrong, "Turn caching off for this host.")
        messages = answer.members.get("messages")
        if not isinstance(messages, list) or not all(isinstance(entry, dict) for entry in messages):
            raise StepFailed(step, "the answer is not a list of messages", "Does something in front change answers?")
        return [str(entry.get("message_id")) for entry in messages]

    async def acknowledge(self) -> None:
        body = json.dumps({"ids": [self.id]}).encode()
        _expect("acknowledge", await self._ask("acknowledge", "POST", "/v1/messages/ack", "ack", body), 204)

    async def give_up(self) -> None:
        _expect("clean-up", await self._ask("clean-up", "DELETE", "/v1/inbox", "settings"), 204)

    def read_token(self) -> str:
        return owner_token(self.owner, scope="read", app=APP, inbox=self.times.audience, now=self.times.now())

    async def _ask(self, step: str, method: str, path: str, scope: str, body: bytes = b"") -> Answer:
        audience, now = self.times.audience, self.times.now()
        token = owner_token(self.owner, scope=scope, app=APP, inbox=audience, now=now, body=body)
        return await self._send(step, method, path, token, body)

    async def _send(self, step: str, method: str, path: str, token: str, body: bytes) -> Answer:
        try:
            return await self.times.server.ask(method, path, token=token, body=body or None)
        except NoAnswer as error:
            raise StepFailed(step, f"{method} {path} {error}", "Try again; if it stays, see the proxy's log.") from None


def _expect(step: str, answer: Answer, status: int) -> None:
    if answer.status == status:
        return
    if not answer.code:
        said = f"answered {answer.status} by something that is not an inbox server, instead of {status}"
        raise StepFailed(step, said, "Does the proxy let every method and path through?")
    said = f"answered {answer.status} {quoted(answer.code)}: {quoted(answer.members.get('detail', ''))}"
    advice = _REMEDIES.get(answer.code, "docs/protocol.md, Refusals, says what each code means.")
    raise StepFailed(step, said, advice, refused=True)


async def check_round_trip(
    times: Times, invite: str | None, hold_seconds: int, random_bytes: Callable[[int], bytes], findings: Findings
) -> None:
    """Run every step, hold an answer for `hold_seconds` unless that is 0, and always delete the inbox at the end."""
    message_id = encode(random_bytes(_MESSAGE_ID_BYTES))
    trip = RoundTrip(times, AppKey(random_bytes(32)), AppKey(random_bytes(32)), message_id)
    begun, claimed = len(findings.all), True  # an inbox whose claim got no answer may exist
    try:
        await trip.claim(invite)
        findings.ok("claim", "a throw-away inbox was claimed")
        await _walk(trip, findings)
        if hold_seconds:
            await _check_held(trip, hold_seconds, findings)
    except NotTaken as reason:
        claimed = False
        findings.skip("claim", f"registration takes no throw-away key: {reason}")
    except StepFailed as failure:
        claimed = not (failure.step == "claim" and failure.refused)
        findings.fail(failure.step, str(failure), failure.advice)
    finally:
        if claimed:
            await _clean_up(trip, findings)
    skip_round_trip("because an earlier step failed", findings, begun=begun)


def skip_round_trip(why: str, findings: Findings, *, begun: int | None = None) -> None:
    """Report each step as skipped that has no finding since `begun`."""
    noted = {finding.check for finding in findings.all[begun:]} if begun is not None else set()
    for step in _STEPS:
        if step not in noted:
            findings.skip(step, why)


async def _walk(trip: RoundTrip, findings: Findings) -> None:
    async with open_stream(trip.times.server, trip.read_token(), closes=True) as stream:
        first = await stream.next()  # empty, and the stream stays open until there is a message
        sent = stream.now()
        await trip.deliver()
        taken = stream.now()
        findings.ok("deliver", "a delivery from another key is accepted")
        check_events(stream, first, await stream.rest(), sent, taken, findings)
    async with open_stream(trip.times.server, trip.read_token(), closes=False) as stream:
        await check_waiting(stream, findings)
    if await trip.unread("list") != [trip.message_id]:
        raise StepFailed(
            "list", "the list does not hold what was just delivered", "Is something in between caching answers?"
        )
    findings.ok("list", "it is listed, unchanged")
    await trip.acknowledge()
    if await trip.unread("acknowledge"):
        said = "it is listed again after it was acknowledged"
        raise StepFailed("acknowledge", said, "Is something in between caching answers?")
    findings.ok("acknowledge", "it is gone from the list")


async def _check_held(trip: RoundTrip, seconds: int, findings: Findings) -> None:
    """Check that a silent answer can be held for this long: some proxies cut it after 30 or 50 seconds."""
    server, path, advice = trip.times.server, f"/v1/messages?wait={seconds}", f"Let the proxy wait longer. {_TIMEOUTS}"
    try:
        async with asyncio.timeout(seconds + server.seconds):
            answer = await server.ask("GET", path, token=trip.read_token(), stays_open=True)
    except TimeoutError:
        raise StepFailed("held", f"no answer within {seconds + server.seconds:g} s", advice) from None
    except NoAnswer as error:
        raise StepFailed("held", f"an answer held for {seconds} s {error}", advice) from None
    if answer.status != 200:
        raise StepFailed("held", f"an answer held for {seconds} s is answered {answer.status}", advice)
    findings.ok("held", f"an answer may be held for {seconds} s")


async def _clean_up(trip: RoundTrip, findings: Findings) -> None:
    for attempt in range(_CLEAN_UPS):
        try:
            await trip.give_up()
        except StepFailed as failure:
            if attempt == _CLEAN_UPS - 1:
                said = f"the throw-away inbox may still be there: {failure}"
                findings.fail("clean-up", said, "It is empty and harmless, but takes the place of one inbox.")
        else:
            findings.ok("clean-up", "the throw-away inbox is deleted")
            return
