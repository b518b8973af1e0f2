"""Keys and signatures: what jsontokens signs is verified in either half of S, and nothing else is."""

import contextlib
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.identity.keys import NotAKey, PublicKey, key_from_bytes, parse_key
from inbox_server.protocol.base64url import decode
from inbox_server.protocol.tokens import read_deliver_token, read_owner_token

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

ALICE = AppKey.from_hex(KEYS["aliceApp"]["privateKey"])
ALICE_KEY = parse_key(ALICE.public)
MESSAGE = b"the meadow at noon"
NO_CLAIM_CHECKS: Any = {f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


def joined(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def parts(token: str) -> tuple[bytes, bytes]:
    """The message of a token and its signature."""
    message, _, signature = token.rpartition(".")
    return message.encode(), decode(signature)


def pyjwt_accepts(token: str, key: PublicKey) -> bool:
    point = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(key.hex))
    try:
        jwt.decode(token, point, algorithms=["ES256K"], options=NO_CLAIM_CHECKS)
    except jwt.PyJWTError:
        return False
    return True


R, S = decode_dss_signature(ALICE.sign(MESSAGE))


@pytest.mark.parametrize("vector", VECTORS["jwts"], ids=lambda v: v["name"])
def test_what_jsontokens_signed_is_verified(vector: dict[str, Any]) -> None:
    key = key_from_bytes(bytes.fromhex(vector["verifyWith"]))
    message, signature = parts(vector["token"])
    assert (int.from_bytes(signature[32:], "big") > N // 2) == vector["highS"]
    assert key.signed(message, signature)
    assert not key.signed(message + b" ", signature)
    assert pyjwt_accepts(vector["token"], key)


@pytest.mark.parametrize("vector", VECTORS["jwtsThatMustFail"], ids=lambda v: v["name"])
def test_what_must_fail_fails_here_and_in_pyjwt(vector: dict[str, Any]) -> None:
    key = parse_key(vector["verifyWith"])
    assert not key.signed(*parts(vector["token"]))
    assert not pyjwt_accepts(vector["token"], key)


@pytest.mark.parametrize("vector", VECTORS["jwts"] + VECTORS["jwtsThatMustFail"], ids=lambda v: v["name"])
def test_no_token_of_another_protocol_is_taken(vector: dict[str, Any]) -> None:
    bearer, now = f"Bearer {vector['token']}", UnixTime(1_700_000_100)
    with pytest.raises(Refused, match=r"bad_token|gaia_token"):
        read_owner_token(bearer, b"", scope="read", audience="https://inbox.example", now=now)
    with pytest.raises(Refused, match=r"bad_token|gaia_token"):
        read_deliver_token(bearer, b"", audience="https://inbox.example", now=now)


@pytest.mark.parametrize("vector", VECTORS["jwts"], ids=lambda v: v["name"])
def test_both_halves_of_s_are_the_same_signature(vector: dict[str, Any]) -> None:
    key = key_from_bytes(bytes.fromhex(vector["verifyWith"]))
    message, signature = parts(vector["token"])
    other = signature[:32] + (N - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert key.signed(message, other)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\0" * 64,
        joined(R, 0),
        joined(0, S),
        joined(R, N),
        joined(N, S),
        joined(R, N + 1),
        joined(R, 2**256 - 1),
        joined(2**256 - 1, S),
        b"\xff" * 64,
        joined(S, R),
        joined(R, S)[:63],
        joined(R, S) + b"\0",
        b"\0" + joined(R, S),
        ALICE.sign(MESSAGE),
        joined(R, (S + 1) % N),
        joined((R + 1) % N, S),
        joined(N - R, S),
    ],
)
def test_a_signature_of_another_form_or_value_does_not_hold(signature: bytes) -> None:
    assert ALICE_KEY.signed(MESSAGE, joined(R, S))
    assert not ALICE_KEY.signed(MESSAGE, signature)


def test_a_signature_holds_for_its_key_and_message_only() -> None:
    mallory = parse_key(KEYS["mallory"]["publicKeyCompressed"])
    assert not mallory.signed(MESSAGE, joined(R, S))
    assert not mallory.signed_der(MESSAGE, ALICE.sign(MESSAGE))
    assert not ALICE_KEY.signed(b"", joined(R, S))
    assert not ALICE_KEY.signed_der(b"", ALICE.sign(MESSAGE))


@pytest.mark.parametrize("vector", VECTORS["ecdsa"], ids=lambda v: v["content"])
def test_a_der_signature_of_stacks_js_holds_in_both_halves_of_s(vector: dict[str, Any]) -> None:
    message = vector["content"].encode()
    key, signature = parse_key(vector["result"]["publicKey"]), bytes.fromhex(vector["result"]["signature"])
    assert key.signed_der(message, signature)
    r, s = decode_dss_signature(signature)
    assert key.signed_der(message, encode_dss_signature(r, N - s))
    assert key.signed(message, joined(r, s))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"0",
        ALICE.sign(MESSAGE)[:-1],
        ALICE.sign(MESSAGE) + b"\0",
        joined(R, S),
        encode_dss_signature(R, 0),
        encode_dss_signature(0, S),
        encode_dss_signature(R, N),
        encode_dss_signature(R + N, S),
        encode_dss_signature(R, S + 2**256),
        encode_dss_signature(S, R),
        b"\x30\x84\xff\xff\xff\xff" + b"\x02" * 70,
    ],
)
def test_a_der_signature_that_is_malformed_or_wrong_does_not_hold(signature: bytes) -> None:
    assert not ALICE_KEY.signed_der(MESSAGE, signature)


@given(st.binary(max_size=80) | st.binary(min_size=64, max_size=64), st.binary(max_size=20))
def test_no_bytes_make_a_check_fail_otherwise_than_by_false(signature: bytes, message: bytes) -> None:
    assert not ALICE_KEY.signed(message, signature)
    assert not ALICE_KEY.signed_der(message, signature)


@given(st.binary(max_size=100))
def test_whatever_is_signed_is_verified(message: bytes) -> None:
    r, s = decode_dss_signature(ALICE.sign(message))
    assert s <= N // 2
    assert ALICE_KEY.signed(message, joined(r, s))
    assert ALICE_KEY.signed(message, joined(r, N - s))


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda k: k["label"])
def test_every_form_of_a_key_is_the_same_key(key: dict[str, str]) -> None:
    parsed = parse_key(key["publicKeyCompressed"])
    compressed = key_from_bytes(bytes.fromhex(key["publicKeyCompressed"]))
    uncompressed = key_from_bytes(bytes.fromhex(key["publicKeyUncompressed"]))
    assert parsed == compressed == uncompressed
    assert len({parsed, compressed, uncompressed}) == 1
    assert (uncompressed.hex, uncompressed.address) == (key["publicKeyCompressed"], key["btcAddress"])
    assert parsed != ALICE_KEY or key["label"] == "alice-app"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ALICE.public[:-1],
        ALICE.public + "0",
        ALICE.public + "\n",
        " " + ALICE.public,
        "0x" + ALICE.public[2:],
        "0x" + ALICE.public,
        ALICE.public.upper(),
        ALICE.public[:-1] + "D",
        "04" + ALICE.public[2:],
        "01" + ALICE.public[2:],
        "2" + ALICE.public[1:],
        ALICE.public[:-1] + "g",
        ALICE.public[:-1] + "３",
        KEYS["aliceApp"]["publicKeyUncompressed"],
        ALICE.address,
        "alice.id",
    ],
)
def test_a_key_in_a_token_has_one_form(text: str) -> None:
    with pytest.raises(NotAKey, match="66 lower-case hex"):
        parse_key(text)


@pytest.mark.parametrize("x", [0, 5, 2**256 - 2**32 - 977, 2**256 - 1], ids=["zero", "no y", "p", "more than p"])
@pytest.mark.parametrize("parity", ["02", "03"])
def test_a_key_off_the_curve_is_refused(parity: str, x: int) -> None:
    with pytest.raises(NotAKey, match="curve"):
        parse_key(parity + x.to_bytes(32, "big").hex())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        bytes(33),
        bytes(65),
        bytes.fromhex(ALICE.public)[1:],
        bytes.fromhex(ALICE.public) + b"\0",
        bytes.fromhex(KEYS["aliceApp"]["publicKeyUncompressed"])[1:],
        bytes.fromhex(KEYS["aliceApp"]["publicKeyUncompressed"][:-1] + "1"),
        b"\x04" + bytes.fromhex(ALICE.public)[1:],
        b"\x02" + bytes.fromhex(KEYS["aliceApp"]["publicKeyUncompressed"])[1:],
        ALICE.public.encode(),
    ],
)
def test_bytes_that_are_no_point_are_refused(raw: bytes) -> None:
    with pytest.raises(NotAKey, match="curve"):
        key_from_bytes(raw)


@pytest.mark.parametrize("prefix", [6, 7])
def test_the_hybrid_form_that_only_old_openssl_writes_is_refused(prefix: int) -> None:
    with pytest.raises(NotAKey):
        key_from_bytes(bytes([prefix]) + bytes.fromhex(KEYS["aliceApp"]["publicKeyUncompressed"])[1:])


@given(st.text() | st.from_regex(r"0[23][0-9a-f]{64}", fullmatch=True))
def test_whatever_the_text_only_not_a_key_is_raised(text: str) -> None:
    with contextlib.suppress(NotAKey):
        assert parse_key(text).hex == text


@given(st.binary(max_size=70) | st.binary(min_size=32, max_size=32).map(lambda x: b"\x02" + x))
def test_whatever_the_bytes_only_not_a_key_is_raised(raw: bytes) -> None:
    with contextlib.suppress(NotAKey):
        assert key_from_bytes(raw).hex == raw.hex()


@pytest.mark.parametrize("app", VECTORS["walletSdk"]["apps"], ids=lambda a: a["appDomain"])
def test_a_wallets_app_key_has_the_buckets_address(app: dict[str, str]) -> None:
    for text in (app["appPrivateKey"], app["appPrivateKey"] + "01"):
        key = AppKey.from_hex(text)
        assert (key.public, key.address) == (app["appPublicKey"], app["bucketAddress"])
        assert app["appPrivateKey"] not in repr(key)


@pytest.mark.parametrize("text", ["", "05", "0" * 64, f"{N:064x}", "05" * 33, "0x" + "05" * 31, "zz" * 32, "05" * 31])
def test_a_secret_of_another_length_or_value_is_no_app_key(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AppKey.from_hex(text)
