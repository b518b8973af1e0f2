"""Group `tokens`: which tokens a server takes, and which it must refuse. The vectors, signed for this server now."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inbox_server.checks.results import quoted
from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.cases import Run as CaseRun
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from inbox_server.conformance.together import together
from inbox_server.conformance.vectors.recipes import Names, Recipes, Vector
from inbox_server.conformance.vectors.table import vectors
from inbox_server.protocol.base64url import decode

GROUP: Final = Group("tokens", "tokens")

_REFUSE: Final = "A server MUST refuse every token that breaks one of these rules"
_AT_ONCE: Final = 4
_MOST_TOLD: Final = 4
_REQUESTS: Final = {
    "deliver": ("POST", "/v1/messages"),
    "read": ("GET", "/v1/inbox"),
    "ack": ("POST", "/v1/messages/ack"),
    "settings": ("PUT", "/v1/inbox"),
}
_TO_THE_SECOND: Final = (
    "issued a minute ahead",
    "expired 59 seconds ago",
    "61 seconds ahead",
    "expired 60 seconds ago",
)
_NEEDS_A_NAME: Final = "signature: without a key, by another"
_CLAIM_NAMES: Final = frozenset({"iss", "sub", "app", "aud", "digest", "iat", "exp", "scope", "key", "typ", "alg"})


@dataclass(frozen=True, slots=True)
class Family:
    """Vectors that are one case: those whose name begins so."""

    name: str
    rule: str
    sentence: str
    beginnings: tuple[str, ...]
    accepted: bool = False

    def has(self, vector: Vector) -> bool:
        begins = vector.name.partition(":")[0] in self.beginnings
        return begins and self.accepted != bool(vector.code) and vector.name != _NEEDS_A_NAME


FAMILIES: Final = (
    Family(
        "good-tokens",
        "Every good token is taken: of every kind, with high and low s, at the limits of its times.",
        "High and low values of s are both valid",
        ("deliver", "read", "ack", "settings"),
        accepted=True,
    ),
    Family(
        "compact-form",
        "A token is a compact JWS of three parts, with at most 2,048 characters, and nothing inside that is not of it.",
        "A token has at most 2,048 characters.",
        ("shape",),
    ),
    Family(
        "header",
        "The header is exactly `typ`, of the request's kind, and `alg`, which is ES256K.",
        'Its header is exactly `{"typ": …, "alg": "ES256K"}`',
        ("header",),
    ),
    Family(
        "claims",
        "The claims are canonical base64url and strict JSON: no duplicates, no other numbers than integers.",
        "It is canonical base64url without padding, and UTF-8 JSON without duplicate members",
        ("claims",),
    ),
    Family(
        "members",
        "The claims are exactly those of the token's type, none missing, none more, each of its kind.",
        "its claims are exactly those of its type",
        ("deliver", "ack", "read"),
    ),
    Family(
        "signature",
        "The signature is 64 bytes, r and s, in their range, by the right key, over these parts; not DER.",
        "The signature is 64 bytes, r and s, made by `iss`, `key` or the bucket's key.",
        ("signature",),
    ),
    Family("unsigned", "A token without a signature, or with an HMAC, is refused.", _REFUSE, ("unsecured", "hmac")),
    Family(
        "scope", "`scope` is the one that the request needs.", "`scope` is the one that the request needs.", ("scope",)
    ),
    Family("keys", "A key is 66 lower-case hex characters of a point, in `iss` and in `key`.", _REFUSE, ("iss", "key")),
    Family("recipient", "`sub` is a name, a key or a bucket address, each in its one form.", _REFUSE, ("sub",)),
    Family(
        "audience",
        "`aud` is the server's origin: one string, exactly as in the capability document.",
        "`aud` is the server's origin: one string, exactly as in the capability document.",
        ("aud",),
    ),
    Family("app", "`app` is a web origin as browsers write it.", _REFUSE, ("app",)),
    Family(
        "digest",
        "`digest` is that of the body that came, in its one form.",
        "`digest` is base64url(SHA-256(body)) without padding. It binds the token to one body",
        ("digest",),
    ),
    Family(
        "times",
        "`iat` and `exp` are integers, within the life of the type and a minute of the server's clock.",
        "with `iat ≤ now + 60`, `exp > now − 60` and `0 < exp − iat ≤ life`",
        ("times",),
    ),
    Family(
        "gaia",
        "A Gaia hub token is refused as `gaia_token`.",
        "is refused as `gaia_token`, because it can write to a bucket",
        ("gaia",),
    ),
)


def _case_of(family: Family) -> CaseRun:
    async def run(bench: Bench, owner: Inbox, other: Inbox) -> None:
        table = [vector for vector in live_vectors(bench, owner, other) if family.has(vector)]
        await judge(bench, owner, other, table)

    run.__name__, run.__doc__ = family.name, family.rule
    return run


for _family in FAMILIES:
    GROUP.required(_family.sentence)(_case_of(_family))


def live_vectors(bench: Bench, owner: Inbox, other: Inbox, now: int | None = None) -> list[Vector]:
    """The table at this server, now. The names in it lead nowhere."""
    stem = f"n{bench.random_bytes(8).hex()}"
    names = Names(f"{stem}.id", f"{stem}.id.blockstack", f"{stem}2.id", f"{stem}2.btc", f"{stem}2.id.stx")
    now = bench.now() if now is None else now
    keys = (owner.owner.key, other.owner.key, bench.key())
    return vectors(Recipes(now, bench.origin, bench.app, *keys, names))


async def judge(bench: Bench, owner: Inbox, other: Inbox, table: Sequence[Vector]) -> None:
    """Send them all. Raises `Failed` with those that were judged wrongly."""
    places, wrong = asyncio.Semaphore(_AT_ONCE), list[str]()

    async def one(vector: Vector) -> None:
        async with places:
            reply = await _sent_in_time(bench, owner, other, vector)
        if reply is not None and not _is_right(vector, reply):
            wrong.append(f"{vector.name}: answered {reply.told}, not {vector.code or 'taken'} ({vector.reason})")

    await together(*map(one, table))
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise Failed(f"{len(wrong)} of {len(table)} tokens: {'; '.join(wrong[:_MOST_TOLD])}{more}")


async def _sent_in_time(bench: Bench, owner: Inbox, other: Inbox, vector: Vector) -> Reply | None:
    """The answer; None for a token that no header can hold. Times at their limit are judged in their second."""
    if "\n" in vector.token:
        return None
    if not vector.name.endswith(_TO_THE_SECOND):
        return await _sent(bench, owner, vector)

    async def at(second: int) -> Reply:
        again = next(each for each in live_vectors(bench, owner, other, second) if each.name == vector.name)
        return await _sent(bench, owner, again)

    return await bench.within_one_second(at)


async def _sent(bench: Bench, owner: Inbox, vector: Vector) -> Reply:
    if vector.kind == "settings" and not vector.code:
        issued = json.loads(decode(vector.token.split(".")[1]))["iat"]
        owner.settings_issued = max(owner.settings_issued, issued)
    method, path = _REQUESTS[vector.kind]
    headers = {"Authorization": f"Bearer {vector.token}"}
    return await bench.send(
        method, path, body=vector.sent, headers=headers, patient=False, may_stop_early=not vector.token.isascii()
    )


def _is_right(vector: Vector, reply: Reply) -> bool:
    if not vector.code:
        return (reply.status != 401 and reply.status < 500) or reply.code == "names_unavailable"
    if not vector.token.isascii() and reply.status == 400:
        return True  # some HTTP servers take no such header
    if reply.status != 401 or reply.code != vector.code:
        return False
    return vector.code == "gaia_token" or bool(reply.members.get("member"))


@GROUP.recommended("and says which rule it was (`bad_token`, with the `member`)")
async def the_member_is_the_one_to_fix(bench: Bench, owner: Inbox, other: Inbox) -> None:
    """A `bad_token` names the claim that broke the rule, so that a developer sees what to fix."""
    table = [vector for vector in live_vectors(bench, owner, other) if vector.member in _CLAIM_NAMES]
    table = [vector for vector in table if not vector.name.endswith(_TO_THE_SECOND)]
    for vector in table[:: max(1, len(table) // 40)]:
        reply = await _sent(bench, owner, vector)
        if reply.members.get("member") != vector.member:
            named = quoted(reply.members.get("member"))
            raise Failed(f"{vector.name}: the answer names {named}, not {vector.member}")


@GROUP.required("When the clock is the reason, the answer has the server's time in `now`")
async def the_servers_time_is_told(bench: Bench, inbox: Inbox) -> None:
    """A token that is too old or too new is refused with the server's time in `now`, for every kind of request."""
    for issued in (bench.now() - 4000, bench.now() + 4000):
        for scope, method, path in (
            ("read", "GET", "/v1/messages"),
            ("read", "GET", "/v1/inbox"),
            ("settings", "DELETE", "/v1/inbox"),
        ):
            token = bench.owner_token(inbox.owner, scope, issued=issued)
            reply = await bench.send(method, path, token=token)
            _check_now(bench, reply.refused("bad_token", why="with a token of another hour"))
        _check_now(bench, (await inbox.deliver(bench.text(), issued=issued)).refused("bad_token"))


def _check_now(bench: Bench, reply: Reply) -> None:
    lead = reply.number("now") - bench.now()
    if abs(lead) > 5:
        raise Failed(f"{reply.asked}: `now` is {abs(lead)} s from what the server said before")


@GROUP.required("The inbox is the address of the key that signed. Nothing else names it")
async def the_inbox_is_the_signers(bench: Bench, one: Inbox, two: Inbox) -> None:
    """A token opens the inbox of the key that signed it, and no other."""
    (id,) = await one.received(bench.text())
    if (await two.page()).ids or (await one.page()).ids != [id]:
        raise Failed("a list has another inbox's entry, or not its own")
    (await two.ack(id)).expect(204)
    if (await one.page()).ids != [id]:
        raise Failed("an acknowledgement with another owner's token took an entry away")


@GROUP.required("for reading and acknowledging, `app` is only a label")
async def the_app_of_an_owner_is_a_label(bench: Bench, inbox: Inbox) -> None:
    """A token for reading or acknowledging works with another `app` too."""
    (id,) = await inbox.received(bench.text())
    (await inbox.ask("GET", "/v1/messages", "read", app="https://other.example")).expect(200)
    body = f'{{"ids":["{id}"]}}'.encode()
    (await inbox.ask("POST", "/v1/messages/ack", "ack", body, app="https://other.example")).expect(204)
    if (await inbox.page()).messages:
        raise Failed("the entry that was acknowledged with another `app` is still listed")


@GROUP.required("The `app` of a delivery MUST be the app that the inbox was claimed for.")
async def the_app_of_a_delivery_is_the_inboxs(bench: Bench, inbox: Inbox) -> None:
    """A delivery for another `app` than the inbox's is `not_accepted`, whether its recipient is a key or an address."""
    for recipient in (inbox.owner.key.public, inbox.address):
        reply = await bench.deliver(recipient, bench.text(), app="https://other.example")
        reply.refused("not_accepted", why="with another app")


@GROUP.required("A header that says anything else, or a second one, is `bad_token` with the member `Authorization`.")
async def a_token_is_sent_once(bench: Bench, inbox: Inbox) -> None:
    """Another scheme than `Bearer`, and a second `Authorization`, are `bad_token`; `Bearer` may be in any case."""
    tokens = [bench.owner_token(each, "read") for each in (inbox.owner, bench.somebody())]
    headers = [("Authorization", f"Bearer {token}") for token in tokens]
    twice = await bench.send("GET", "/v1/messages", headers=headers, may_stop_early=True)
    twice.expect(400, 401, why="with two tokens")
    for scheme in ("bearer", "BEARER", "Basic", "Token"):
        reply = await bench.send("GET", "/v1/messages", headers={"Authorization": f"{scheme} {tokens[0]}"})
        if scheme.lower() == "bearer":
            reply.expect(200, why=f"with {scheme}")
        else:
            reply.refused("bad_token", member="Authorization", why=f"with {scheme}")


@GROUP.required("401 has `WWW-Authenticate: Bearer`.", section="refusals")
async def without_a_token(bench: Bench) -> None:
    """A request without a token is answered `no_token`, with `WWW-Authenticate: Bearer`."""
    for method, path, body in (
        ("GET", "/v1/messages", b""),
        ("GET", "/v1/inbox", b""),
        ("GET", "/v1/events", b""),
        ("POST", "/v1/messages", b'{"message_id":"x"}'),
        ("POST", "/v1/messages/ack", b'{"ids":[]}'),
        ("PUT", "/v1/inbox", b"{}"),
        ("DELETE", "/v1/inbox", b""),
    ):
        reply = (await bench.send(method, path, body=body)).refused("no_token", why="without a token")
        if not reply.headers.get("WWW-Authenticate", "").lower().startswith("bearer"):
            raise Failed(f"{reply.asked}: the refusal has no WWW-Authenticate: Bearer")
