"""The suite's table of tokens is the table that tests/vectors/tokens.json was made from, token by token."""

import json
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.conformance.vectors.recipes import GROUP_ORDER, Names, Recipes, Vector, read_der
from inbox_server.conformance.vectors.table import vectors
from inbox_server.protocol.base64url import NotBase64Url, decode

FILE: Any = json.loads((Path(__file__).parent.parent / "vectors" / "tokens.json").read_text(encoding="utf-8"))
NAMES = Names("alice.id", "alice.id.blockstack", "bob.id", "bob.btc", "bob.id.stx")
KEYS = {name: AppKey.from_hex(key["private"]) for name, key in FILE["keys"].items()}
TABLE = vectors(Recipes(FILE["now"], FILE["audience"], "https://chat.example", **KEYS, names=NAMES))
BY_CHANCE = ("low S", "high S")
"""The file looks for a time at which jsontokens signs so; the table turns S round."""


def folded(token: str) -> tuple[Any, ...]:
    """The token with each half of its signature in the lower half of its range: jsontokens' s may be in either."""
    if token.startswith("{"):
        whole = json.loads(token)
        return list(whole), whole["header"], whole["payload"], folded(f".{whole['signature'][0]}")
    message, _, signature = token.rpartition(".")
    try:
        raw = decode(signature)
    except NotBase64Url:
        return message, signature
    if len(raw) == 128:
        raw = bytes.fromhex(raw.decode())
    if raw[:1] == b"\x30" and len(raw) > 65:
        return message, "DER", *map(lower, read_der(raw))
    if len(raw) in (63, 64, 65):
        numbers = raw.rjust(64, b"\0") if len(raw) == 63 else raw
        return message, *(lower(int.from_bytes(half, "big")) for half in (numbers[:32], numbers[32:64])), raw[64:]
    return message, signature


def lower(number: int) -> int:
    return min(number, GROUP_ORDER - number) if 0 < number < GROUP_ORDER else number


def test_the_table_has_the_vectors_of_the_file_in_their_order() -> None:
    assert [vector.name for vector in TABLE] == [case["name"] for case in FILE["cases"]]


@pytest.mark.parametrize(
    ("vector", "case"), list(zip(TABLE, FILE["cases"], strict=True)), ids=lambda each: ascii(getattr(each, "name", ""))
)
def test_a_token_is_the_one_of_the_file(vector: Vector, case: dict[str, Any]) -> None:
    assert vector.kind == case.get("scope", case["type"])
    assert vector.sent.decode() == case["body"]
    assert (vector.code, vector.member) == (case.get("code", ""), case.get("member", ""))
    assert vector.reason == case["reason"]
    if not vector.name.endswith(BY_CHANCE):
        assert folded(vector.token) == folded(case["token"])


def test_the_standard_alphabet_is_another_token_whatever_the_signature() -> None:
    """With each of these keys; the signatures of a few would have had neither `-` nor `_`."""
    for number in range(1, 61):
        people = {name: AppKey(bytes([number + place]) * 32) for place, name in enumerate(KEYS)}
        table = vectors(Recipes(FILE["now"], FILE["audience"], "https://chat.example", **people, names=NAMES))
        (token,) = (vector.token for vector in table if vector.name == "signature: the standard alphabet")
        assert set("+/").intersection(token.rpartition(".")[2])
