"""Tokens that must be accepted: of every kind, at the edge of every rule."""

import json
from collections.abc import Iterator
from typing import Any, Final

from inbox_server.conformance.vectors.recipes import BODIES, OWNER_TYPE, Recipes, Text, Vector, flip, json_of
from inbox_server.protocol.base64url import encode

LONGEST: Final = 2048
_READ_LIFE: Final = 3600
_LIFE: Final = 300


def accepted(recipes: Recipes) -> Iterator[Vector]:
    now = recipes.now
    for kind in BODIES:
        life = _READ_LIFE if kind == "read" else _LIFE
        soon, late = {"iat": now + 60, "exp": now + 60 + life}, {"iat": now - 59 - life, "exp": now - 59}
        for name, reason, how in (
            ("as jsontokens signs it, low S", "S in the lower half", {}),
            ("as jsontokens signs it, high S", "S in the upper half", {"edit": flip}),
            ("S flipped", "whoever sees a token can make the other one of it, so none is an identity", {"edit": flip}),
            ("members in another order", "JSON members have no order", _backwards()),
            ("issued a minute ahead", "iat = now + 60 is within the skew", {"claims": soon}),
            ("expired 59 seconds ago", "exp > now - 60 is within the skew", {"claims": late}),
            ("a life of one second", "exp - iat = 1", {"claims": {"exp": now + 1}}),
        ):
            yield recipes.vector(f"{kind}: {name}", kind, reason, **how)
    yield from _accepted_identities(recipes)
    for name, kind, reason, more in (
        ("read: 2,048 characters", "read", "the longest that is taken", {"claims_text": to_length}),
        ("ack: JSON with spaces", "ack", "white space in JSON means nothing", {"claims_text": _indented}),
        ("deliver: escaped letters", "deliver", "an escape is the letter", {"claims_text": _escaped(recipes)}),
        ("settings: no body", "settings", "DELETE has an empty body, and a digest", {"body": b""}),
        (
            "deliver: a body that is not ASCII",
            "deliver",
            "the digest is of the UTF-8 bytes",
            {"body": '{"message_id":"Grüße 🐝"}'.encode()},
        ),
        (
            "read: an app on localhost",
            "read",
            "an http origin with a port",
            {"claims": {"app": "http://localhost:3000"}},
        ),
    ):
        yield recipes.vector(name, kind, reason, **more)


def _accepted_identities(recipes: Recipes) -> Iterator[Vector]:
    names, bob = recipes.names, recipes.bob
    senders: dict[str, dict[str, Any]] = {
        "a name with a key": {},
        "a subdomain with a key": {"claims": {"iss": names.sender_below}},
        "a name without a key": {"without": ("key",)},
        "a key": {"claims": {"iss": recipes.alice.public}, "without": ("key",)},
    }
    recipients = {
        "a name": names.recipient_2,
        "a subdomain": names.recipient_below,
        "a key": bob.public,
        "an address": bob.address,
    }
    for sender, how in senders.items():
        for recipient, sub in recipients.items():
            claims = {**how.get("claims", {}), "sub": sub}
            name = f"deliver: from {sender} to {recipient}"
            yield recipes.vector(name, "deliver", "every form of an identity", **{**how, "claims": claims})


def _backwards() -> dict[str, Text]:
    def turn(text: str) -> str:
        return json_of(dict(reversed(json.loads(text).items())))

    return {"header_text": turn, "claims_text": turn}


def to_length(text: str) -> str:
    """Spaces, until the token of a `read` has `LONGEST` characters."""
    used = len(encode(json_of({"typ": OWNER_TYPE, "alg": "ES256K"}).encode())) + 2 + 86
    return text.ljust((LONGEST - used) * 3 // 4)


def _indented(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def _escaped(recipes: Recipes) -> Text:
    sender = recipes.names.sender
    return lambda text: text.replace(f'"iss":"{sender}"', f'"\\u0069ss":"\\u{ord(sender[0]):04x}{sender[1:]}"')
