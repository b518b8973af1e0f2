"""Bodies that come with a ticket: the fast way to read them finds what the strict one finds, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.errors import Refused
from inbox_server.protocol.tickets import parse_any_sealed_delivery, parse_sealed_delivery, parse_usual_sealed_delivery

TO = AppKey(b"\x07" * 32).address
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60)
LIKE_TO = st.sampled_from([f', "to": "{TO}"', f',"to":"{TO}"', f'","to":"{TO}', '"', "\\", "to"])
MEMBERS = st.fixed_dictionaries(
    {
        "message_id": TEXTS | st.lists(LIKE_TO, min_size=1).map("".join),
        "to": st.sampled_from([TO, TO[:-1] + "1", "bob.id"]),
    },
    optional={"ttl": st.integers(0, 10**6), "receipt": st.booleans(), "from": st.just("alice.id")},
)


def outcome(parse: Any, body: bytes) -> Any:
    try:
        return parse(body)
    except Refused as refusal:
        return refusal.code, refusal.member


@given(MEMBERS, st.permutations(["message_id", "to", "ttl", "receipt", "from"]), st.sampled_from([None, (",", ":")]))
def test_the_fast_way_finds_what_the_strict_one_finds_or_nothing(
    members: dict[str, Any], order: list[str], separators: tuple[str, str] | None
) -> None:
    body = json.dumps({name: members[name] for name in order if name in members}, separators=separators).encode()
    usual = parse_usual_sealed_delivery(body)
    assert usual in (None, outcome(parse_any_sealed_delivery, body))
    assert outcome(parse_sealed_delivery, body) == outcome(parse_any_sealed_delivery, body)


@pytest.mark.parametrize("more", [{}, {"ttl": 600}, {"receipt": True}, {"ttl": 600, "receipt": True}])
@pytest.mark.parametrize("separators", [None, (",", ":")])
def test_what_clients_write_goes_the_fast_way(more: dict[str, Any], separators: tuple[str, str] | None) -> None:
    text = json.dumps({"iv": "00", "cipherText": "x" * 700})
    for members in ({"message_id": text, **more, "to": TO}, {"message_id": text, "to": TO, **more}):
        assert parse_usual_sealed_delivery(json.dumps(members, separators=separators).encode())


def test_to_twice_is_refused() -> None:
    body = f'{{"message_id":"x","to":"{TO}","to":"{TO}"}}'.encode()
    assert parse_usual_sealed_delivery(body) is None
    assert outcome(parse_sealed_delivery, body) == ("bad_request", "body")
