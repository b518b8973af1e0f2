"""tests/vectors/tokens.json, which any implementation can use: made by jsontokens, judged here and by PyJWT.

`test_tokens.py` makes its tokens itself; these come from the library that apps sign with.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime
from inbox_server.errors import CODES, Refused
from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.tokens import read_deliver_token, read_owner_token
from tests.support.javascript import JS, Node, open_node, search_path

FILE = Path(__file__).parent.parent / "vectors" / "tokens.json"
VECTORS: Any = json.loads(FILE.read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = VECTORS["cases"]
ACCEPTED = [case for case in CASES if case["expect"] == "accept"]
NOW, AUDIENCE = UnixTime(VECTORS["now"]), VECTORS["audience"]
ALICE = AppKey.from_hex(VECTORS["keys"]["alice"]["private"])
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# PyJWT's clock is the machine's; times are checked here, in one place, against `now`.
UNTIMED: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["iss", "aud", "iat", "exp"]}

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["name"])[1:-1])


def read(case: dict[str, Any], token: str | None = None) -> tuple[PublicKey, tuple[Any, ...]]:
    """The key that signed, and what the token means. Raises `Refused`."""
    authorization, body = f"Bearer {case['token'] if token is None else token}", case["body"].encode()
    if case["type"] == "owner":
        owner = read_owner_token(authorization, body, scope=case["scope"], audience=AUDIENCE, now=NOW)
        return owner.key, (owner.app, owner.scope, owner.issued, owner.expires, owner.digest)
    deliver = read_deliver_token(authorization, body, audience=AUDIENCE, now=NOW)
    key = deliver.key or (deliver.sender if isinstance(deliver.sender, PublicKey) else parse_key(ALICE.public))
    deliver.check_signature(key)
    return key, (deliver.sender, deliver.recipient, deliver.app, deliver.key, deliver.issued)


def pyjwt_claims(token: str, key: PublicKey) -> Any:
    point = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(key.hex))
    return jwt.decode(token, point, algorithms=["ES256K"], audience=AUDIENCE, options=UNTIMED)


def judgement(case: dict[str, Any]) -> tuple[str, str | None, str | None]:
    try:
        read(case)
    except Refused as refused:
        return "refuse", refused.code, refused.member
    return "accept", None, None


@by_name
def test_a_vector_is_judged_as_it_says(case: dict[str, Any]) -> None:
    assert judgement(case) == tuple(case.get(member) for member in ("expect", "code", "member"))


def test_the_file_is_what_its_description_says() -> None:
    assert len(CASES) >= 120
    assert len({case["name"] for case in CASES}) == len(CASES)
    for case in CASES:
        refused = {"code", "member"} if case.get("code") == "bad_token" else {"code"}
        members = {"name", "type", "body", "token", "expect", "reason"} | (
            {"scope"} if case["type"] == "owner" else set()
        )
        assert case.keys() == members | (refused if case["expect"] == "refuse" else set())
        assert case.get("code", "bad_token") in CODES
        assert case["reason"]


def test_both_halves_of_s_are_among_the_accepted_of_each_kind() -> None:
    halves = {
        (case["type"], case.get("scope"), int.from_bytes(decode(case["token"].rpartition(".")[2])[32:], "big") > N // 2)
        for case in ACCEPTED
    }
    kinds = {("deliver", None), *(("owner", scope) for scope in ("read", "ack", "settings"))}
    assert halves == {(*kind, half) for kind in kinds for half in (True, False)}


@pytest.fixture(scope="module")
def node() -> Node:
    return open_node(search_path())


@pytest.mark.timeout(60, func_only=True)  # npm ci has its own limit
def test_jsontokens_makes_the_same_file_again(node: Node) -> None:
    made = subprocess.run([node.program, JS / "make_token_vectors.mjs"], stdout=subprocess.PIPE, check=True)
    assert made.stdout == FILE.read_bytes()


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"])
def test_what_is_accepted_pyjwt_accepts_with_the_same_claims(case: dict[str, Any]) -> None:
    key, _ = read(case)
    assert pyjwt_claims(case["token"], key) == json.loads(decode(case["token"].split(".")[1]))


PIECES = st.text(max_size=4) | st.sampled_from(["=", ".", "A", "e30", " ", "\n", "==", "-", "_", "\0", "ſ"])


def edits(text: str) -> st.SearchStrategy[str]:
    """`text` with a stretch of at most four characters replaced: so also with one put in or taken out."""
    places = st.tuples(st.integers(0, len(text)), st.integers(0, 4), PIECES)
    return places.map(lambda place: text[: place[0]] + place[2] + text[place[0] + place[1] :])


@given(st.sampled_from(ACCEPTED), st.data())
def test_an_edited_token_is_refused_or_means_the_same(case: dict[str, Any], draw: st.DataObject) -> None:
    edited = draw.draw(edits(case["token"]))
    try:
        means = read(case, edited)
    except Refused:
        return
    assert means == read(case)


def signed(message: str) -> str:
    r, s = decode_dss_signature(ALICE.sign(message.encode()))
    return f"{message}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


PART_EDITS = PIECES | st.sampled_from(
    ['"', ",", ":", "{", "}", "0", "1", "e1", ".0", "\\u0061", "NaN", '"iat":1', "null"]
)


@given(st.sampled_from([case for case in ACCEPTED if case["name"] != "read: 2,048 characters"]), st.data())
def test_edited_claims_that_are_signed_again_are_refused_or_pyjwt_reads_the_same(
    case: dict[str, Any], draw: st.DataObject
) -> None:
    header, claims = (decode(part).decode() for part in case["token"].split(".")[:2])
    place, gone, put = draw.draw(st.tuples(st.integers(0, len(claims)), st.integers(0, 4), PART_EDITS))
    edited = claims[:place] + put + claims[place + gone :]
    token = signed(f"{encode(header.encode())}.{encode(edited.encode('utf-8', 'surrogatepass'))}")
    try:
        key, _ = read(case, token)
    except Refused:
        return
    assert pyjwt_claims(token, key) == json.loads(edited)
