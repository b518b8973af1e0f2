"""Group `order`: a delivery is checked in one order, so that strangers learn nothing."""

import json
from collections.abc import Mapping
from typing import Any, Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from inbox_server.conformance.together import together

GROUP: Final = Group("order", "the-order-of-a-delivery")
_ORDER: Final = "size and shape; header, claims and digest; the sender's signature"
_ONE_ANSWER: Final = "there is one answer, `not_accepted`. It is equal in every byte"
_USES_UP_NOTHING: Final = "so that a delivery that the owner refuses uses up neither"
_PER_REQUEST: Final = frozenset(
    {"date", "age", "connection", "keep-alive", "x-request-id", "cf-ray", "nel", "report-to"}
)
_REFUSED_DELIVERIES: Final = 650  # more than the 600 an hour that a server may take from one sender for one inbox
_AT_ONCE: Final = 8


@GROUP.required(_ORDER)
async def size_and_shape_come_first(bench: Bench) -> None:
    """A body that is too large or malformed is refused as that, whatever the token is, and without one too."""
    old = bench.owner_token(bench.somebody(), "read", issued=1)
    large, shapeless = b'{"message_id":"x"}'.ljust(5000), b'{"message_id":1}'
    for token in (None, old):
        (await bench.send("POST", "/v1/messages", token=token, body=large)).refused("too_large", why="of 5,000 bytes")
        (await bench.send("POST", "/v1/messages", token=token, body=shapeless)).refused(
            "bad_request", why="of no shape"
        )


@GROUP.required(_ORDER)
async def claims_come_before_the_signature(bench: Bench, inbox: Inbox) -> None:
    """A wrong claim is refused before a wrong signature, and a wrong signature before an inbox that is not there."""
    body = json.dumps({"message_id": bench.text()}).encode()
    stranger, other = bench.somebody(), bench.key()
    forged = Identity(other, bench.app)
    wrong: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
        ({"aud": "https://other.example"}, ("aud",)),
        ({"digest": "x" * 43}, ("digest",)),
        ({"exp": bench.now() + 9000}, ("exp",)),
    )
    for claims, members in wrong:
        token = bench.deliver_token(forged, inbox.address, body, **claims, iss=stranger.key.public)
        reply = await bench.send("POST", "/v1/messages", token=token, body=body)
        reply.refused("bad_token", member=members, why="with a wrong claim and a wrong signature")
    for recipient in (inbox.address, bench.key().address):
        token = bench.deliver_token(forged, recipient, body, iss=stranger.key.public)
        reply = await bench.send("POST", "/v1/messages", token=token, body=body)
        reply.refused("bad_token", why="with a wrong signature")


@GROUP.required("For owners' requests, too, size and shape come before the token.")
async def size_and_shape_come_first_for_owners_too(bench: Bench) -> None:
    """An owner's request that is too large or malformed is refused as that, without a token too."""
    large = b"{}".ljust(66_000)
    for method, path in (("PUT", "/v1/inbox"), ("POST", "/v1/messages/ack")):
        (await bench.send(method, path, body=large)).refused("too_large", why="of 66,000 bytes")
        (await bench.send(method, path, body=b"[]")).refused("bad_request", why="of no shape")
    (await bench.send("GET", "/v1/messages?limit=0")).refused("bad_request", why="with limit=0")


@GROUP.required("the inbox, its app and its owner's policy; then the sender's name and the recipient's")
async def the_policy_comes_before_the_names(bench: Bench, inbox: Inbox) -> None:
    """A sender whose name leads nowhere is `not_accepted` where the policy says no, as if the name were not asked."""
    sender = _made_up(bench)
    await inbox.set(accept="nobody")
    for recipient in (inbox.address, bench.key().address, bench.key().public):
        reply = await bench.deliver(recipient, bench.text(), sender=sender, patient=False)
        reply.refused("not_accepted", why="by a made-up name, where the policy says no")


@GROUP.required("A key belongs to the name only if it hashes to that address.", section="who-is-who")
async def a_made_up_name_delivers_nothing(bench: Bench, inbox: Inbox) -> None:
    """A sender whose name leads nowhere is refused as `name_unproven`, or put off; nothing is stored."""
    reply = await inbox.deliver(bench.text(), sender=_made_up(bench), patient=False)
    reply.refused("name_unproven", "names_unavailable", why="by a made-up name")
    if (await inbox.page()).ids:
        raise Failed("a delivery that was refused is listed")


def _made_up(bench: Bench) -> Identity:
    return Identity(bench.key(), bench.app, f"n{bench.random_bytes(8).hex()}.id")


@GROUP.required("the inbox, its app and its owner's policy;")
async def a_life_that_is_over_tells_nothing(bench: Bench, inbox: Inbox) -> None:
    """Where the policy says no, a delivery whose `ttl` is over is `not_accepted` too, not `ttl_passed`."""
    await inbox.set(accept="nobody")
    for recipient in (inbox.address, bench.key().address):
        reply = await bench.deliver(recipient, bench.text(), ttl=10, issued=bench.now() - 30)
        reply.refused("not_accepted", why="with a life that is over, where the policy says no")


@GROUP.required(_ONE_ANSWER, "A recipient's name that nobody proved here counts as no such inbox.")
async def every_no_is_the_same_answer(bench: Bench, inbox: Inbox) -> None:
    """No inbox, another app, `nobody`, not on the list, blocked, an unproved name: one answer, in every byte."""
    sender = bench.somebody()
    replies = {
        "no inbox": await bench.deliver(bench.key().address, bench.text(), sender=sender),
        "no inbox, to a key": await bench.deliver(bench.key().public, bench.text(), sender=sender),
        "a name that nobody proved": await bench.deliver(_made_up(bench).sender, bench.text(), sender=sender),
        "another app": await inbox.deliver(bench.text(), sender=sender, app="https://other.example"),
    }
    for what, settings in (
        ("accept is nobody", {"accept": "nobody"}),
        ("not a contact", {"accept": "contacts"}),
        ("a bare key, where accept is names", {"accept": "names"}),
        ("blocked", {"accept": "anyone", "blocked": [sender.key.address]}),
    ):
        await inbox.set(**settings)
        replies[what] = await inbox.deliver(bench.text(), sender=sender)
    first = seen(replies["no inbox"].refused("not_accepted", why="to no inbox"))
    for what, reply in replies.items():
        if seen(reply.refused("not_accepted", why=what)) != first:
            raise Failed(f"the answer for “{what}” is not, byte for byte, the one for “no inbox”")


def seen(reply: Reply) -> tuple[int, Mapping[str, str], bytes]:
    """What a sender can tell two answers apart by."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return reply.status, {name: headers[name] for name in headers.keys() - _PER_REQUEST}, reply.answer.body


@GROUP.required(_ONE_ANSWER, _USES_UP_NOTHING)
async def refusals_do_not_add_up(bench: Bench, inbox: Inbox) -> None:
    """Hundreds of refused deliveries from one sender get the same answer, inbox or not, and use up no limit of it."""
    await inbox.set(accept="nobody")
    sender, nowhere = bench.somebody(), bench.key().address
    for recipient in (inbox.address, nowhere):
        for _ in range(0, _REFUSED_DELIVERIES, _AT_ONCE):
            one = (bench.deliver(recipient, bench.text(8), sender=sender, patient=False) for _ in range(_AT_ONCE))
            for reply in await together(*one):
                reply.refused("not_accepted", why=f"one of {_REFUSED_DELIVERIES} that are refused")
    await inbox.set(accept="anyone")
    (await inbox.deliver(bench.text(), sender=sender, patient=False)).expect(201, why="after many that were refused")
