"""The fast readings of usual tokens and bodies: they are taken, and find nothing that the strict readings do not."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.delivery import delivery_body
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.errors import Refused
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.bearer import DELIVER, OWNER, read_bearer
from inbox_server.protocol.requests import (
    MAX_MESSAGE_ID_CHARACTERS,
    MIN_TTL_SECONDS,
    parse_any_delivery,
    parse_usual_delivery,
)
from inbox_server.protocol.usual_bearer import read_usual_bearer
from tests.protocol.test_token_vectors import ACCEPTED, ALICE, AUDIENCE, CASES, NOW, PART_EDITS, edits, signed

TYPES = {"deliver": DELIVER, "owner": OWNER}
APP, BODY = "https://chat.example", b'{"message_id":"opaque"}'
NOT_USUAL = ("members in another order", "escaped letters", "JSON with spaces", "2,048 characters")

TAKEN = {
    **{case["name"]: (TYPES[case["type"]], case["token"]) for case in ACCEPTED if not case["name"].endswith(NOT_USUAL)},
    **{
        f"our client, from {sender:.8} to {recipient:.8}": (
            DELIVER,
            deliver_token(ALICE, BODY, sender=sender, recipient=recipient, app=APP, inbox=AUDIENCE, now=NOW),
        )
        for sender in ("alice.id", "a.alice.id", ALICE.public)
        for recipient in ("bob.id", ALICE.public, ALICE.address)
    },
    **{
        f"our client, to {scope}": (OWNER, owner_token(ALICE, scope=scope, app=APP, inbox=AUDIENCE, now=NOW, body=BODY))
        for scope in ("read", "ack", "settings")
    },
}


def strict(authorization: str, expected_type: str) -> tuple[Any, Any] | None:
    with contextlib.suppress(Refused):
        return read_bearer(authorization, expected_type)
    return None


@pytest.mark.parametrize("name", TAKEN)
def test_tokens_of_the_usual_libraries_are_read_the_fast_way(name: str) -> None:
    expected_type, token = TAKEN[name]
    usual = read_usual_bearer(f"Bearer {token}", expected_type)
    assert usual is not None
    assert usual == read_bearer(f"Bearer {token}", expected_type)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["name"])[1:-1])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "Bearer  ", "Bearer", "Basic "])
def test_whatever_is_read_the_fast_way_is_read_alike_the_strict_way(case: dict[str, Any], scheme: str) -> None:
    for expected_type in TYPES.values():
        usual = read_usual_bearer(scheme + case["token"], expected_type)
        assert usual is None or usual == strict(scheme + case["token"], expected_type)


@given(st.sampled_from(list(TAKEN.values())), st.data())
def test_an_edited_token_is_read_alike_or_not_at_all(taken: tuple[str, str], draw: st.DataObject) -> None:
    expected_type, token = taken
    authorization = draw.draw(edits(f"Bearer {token}"))
    usual = read_usual_bearer(authorization, expected_type)
    assert usual is None or usual == strict(authorization, expected_type)


CLAIM_EDITS = PART_EDITS | st.sampled_from(
    ["\u0660", "\u00e9", "\x7f", "\t", "-1", "00", "9" * 17, "9" * 16, '","key":"', '"digest":"x",', '"scope":"read",']
)


@given(st.sampled_from(list(TAKEN.values())), st.data())
def test_edited_claims_that_are_signed_again_are_read_alike_or_not_at_all(
    taken: tuple[str, str], draw: st.DataObject
) -> None:
    expected_type, token = taken
    header, claims = (decode(part).decode() for part in token.split(".")[:2])
    place, gone, put = draw.draw(st.tuples(st.integers(0, len(claims)), st.integers(0, 40), CLAIM_EDITS))
    edited = claims[:place] + put + claims[place + gone :]
    message = f"{encode(header.encode())}.{encode(edited.encode('utf-8', 'surrogatepass'))}"
    authorization = f"Bearer {signed(message)}"
    usual = read_usual_bearer(authorization, expected_type)
    assert usual is None or usual == strict(authorization, expected_type)


@pytest.mark.parametrize("claim", ["digest", "key"])
def test_a_claim_that_is_there_twice_is_not_read(claim: str) -> None:
    """Where one library writes it and where another does: each pattern alone would match."""
    token = deliver_token(ALICE, BODY, sender="alice.id", recipient="bob.id", app=APP, inbox=AUDIENCE, now=NOW)
    header, part, _ = token.split(".")
    claims = decode(part).decode()
    again = f'"{claim}":"{json.loads(claims)[claim]}"'
    twice = {
        "digest": claims.replace(',"key"', f',{again},"key"'),
        "key": claims.replace(',"sub"', f',{again},"sub"'),
    }[claim]
    assert claims != twice
    for text, is_read in ((claims, True), (twice, False)):
        authorization = f"Bearer {signed(f'{header}.{encode(text.encode())}')}"
        assert (read_usual_bearer(authorization, DELIVER) is not None) == is_read
        assert (strict(authorization, DELIVER) is not None) == is_read


@pytest.mark.parametrize("spare", [0, 1])
def test_a_token_may_be_as_long_as_the_strict_way_says(spare: int) -> None:
    claims = {"iss": ALICE.public, "app": "", "aud": AUDIENCE, "scope": "read", "iat": NOW, "exp": NOW + 1}
    header = encode(b'{"typ":"inbox-owner+jwt","alg":"ES256K"}')
    room = (2048 - len(header) - 2 - 86) * 3 // 4 + spare
    raw = json.dumps(claims, separators=(",", ":"))
    raw = raw.replace('"app":""', f'"app":"{"x" * (room - len(raw))}"')
    authorization = f"Bearer {signed(f'{header}.{encode(raw.encode())}')}"
    assert (read_usual_bearer(authorization, OWNER) is None) == bool(spare)
    assert (strict(authorization, OWNER) is None) == bool(spare)


USUAL_BODIES = [
    *(delivery_body("opaque", ttl) for ttl in (None, MIN_TTL_SECONDS, 86_400)),
    delivery_body(json.dumps({"iv": "00", "cipherText": "", "wasString": True})),
    b'{"message_id":"opaque"}',
    b'{"message_id":"\\"\\""}',
    b'{"message_id":"opaque","ttl":10}',
    b'{"message_id":"opaque","receipt":true}',
    b'{"message_id": "opaque", "ttl": 10, "receipt": false}',
    b'{"message_id":"%s"}' % (b"x" * MAX_MESSAGE_ID_CHARACTERS),
]


@pytest.mark.parametrize("body", USUAL_BODIES, ids=lambda body: body[:40])
def test_bodies_of_the_usual_clients_are_read_the_fast_way(body: bytes) -> None:
    usual = parse_usual_delivery(body)
    assert usual is not None
    assert usual == parse_any_delivery(body)


BODY_EDITS = PART_EDITS | st.sampled_from(
    [
        "9",
        "-",
        "\\",
        '\\"',
        "\\\\",
        "é",
        "\x7f",
        "\n",
        ', "ttl": 11',
        '"ttl":9',
        ',"receipt":true',
        '"receipt":1',
        "x" * 1024,
    ]
)


@given(st.sampled_from(USUAL_BODIES), st.data())
def test_an_edited_body_is_read_alike_or_not_at_all(body: bytes, draw: st.DataObject) -> None:
    text = body.decode()
    place, gone, put = draw.draw(st.tuples(st.integers(0, len(text)), st.integers(0, 12), BODY_EDITS))
    edited = (text[:place] + put + text[place + gone :]).encode("utf-8", "surrogatepass")
    usual = parse_usual_delivery(edited)
    if usual is not None:
        assert usual == parse_any_delivery(edited)
