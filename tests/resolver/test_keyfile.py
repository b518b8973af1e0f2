"""Key files: the shapes seen in the wild, each a hint that counts only when it hashes to the bucket's address."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.identity.keys import NotAKey, PublicKey, key_from_bytes, parse_key
from inbox_server.resolver.keyfile import KEY_FILES, check_key, is_unfinished, read_key_file

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
SHAPES = VECTORS["publicKeyFileShapes"]
BOB, MALLORY = VECTORS["keys"]["bobApp"], VECTORS["keys"]["mallory"]
KEY, FULL, ADDRESS = BOB["publicKeyCompressed"], BOB["publicKeyUncompressed"], BOB["btcAddress"]


def key_of_digits(form: str) -> PublicKey:
    """A key whose hex has no letter. Half of all numbers are the x of a point, so one is soon found."""
    for x in range(10**63, 10**63 + 100):
        try:
            return key_from_bytes(bytes.fromhex(f"{form}{x:064d}"))
        except NotAKey:
            continue
    raise AssertionError("no such point")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s['file']}, {s['style']}")
def test_every_shape_is_normalised(shape: dict[str, Any]) -> None:
    key = read_key_file(shape["body"].encode(), shape["bucketAddress"])
    assert (key and key.hex) == shape["normalisesTo"]
    assert shape["file"] in KEY_FILES or shape["file"] == "appsMeta"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s['file']}, {s['style']}")
def test_a_key_of_another_bucket_never_counts(shape: dict[str, Any]) -> None:
    for address in (MALLORY["btcAddress"], BOB["btcTestnetAddress"], BOB["btcAddressOfUncompressed"], ""):
        assert read_key_file(shape["body"].encode(), address) is None


def test_a_sig_file_and_a_signed_envelope_tell_their_writers_key() -> None:
    (sig,) = (shape["sig"] for shape in SHAPES if "sig" in shape)
    assert read_key_file(json.dumps(sig).encode(), ADDRESS) == parse_key(KEY)
    alice = VECTORS["keys"]["aliceApp"]
    for vector in VECTORS["ecies"]:
        key = read_key_file(vector["cipher"].encode(), alice["btcAddress"])
        assert key == (parse_key(alice["publicKeyCompressed"]) if "sign" in vector["options"] else None)


def test_an_encrypted_key_file_is_no_key_of_anybodys() -> None:
    (encrypted,) = (shape["body"] for shape in SHAPES if shape["normalisesTo"] is None)
    ephemeral = parse_key(json.loads(encrypted)["ephemeralPK"])
    for address in (ADDRESS, ephemeral.address):
        assert read_key_file(encrypted.encode(), address) is None


@pytest.mark.parametrize("form", ["02", "03"])
def test_a_key_of_digits_only_is_read_as_text_and_as_the_number_json_makes_of_it(form: str) -> None:
    key = key_of_digits(form)
    assert key.hex.isdigit()
    for body in (key.hex, f'"{key.hex}"', key.hex.removeprefix("0"), f'{{"publicKey":"{key.hex}"}}'):
        assert read_key_file(body.encode(), key.address) == key


@pytest.mark.parametrize(
    "body",
    [
        f" {KEY}\r\n",
        f"\ufeff{KEY}",
        f'\ufeff"{KEY}"\n',
        f'" {KEY} "',
        KEY.upper(),
        f"0x{KEY}",
        f'"0x{KEY}"',
        FULL,
        FULL.upper(),
        f"0x{FULL}",
        FULL[2:],
        f"0x{FULL[2:]}",
        *(json.dumps({name: KEY}) for name in ("appPublicKey", "publicKey", "pubKey", "public_key", "key")),
        json.dumps({"x": 1, "publicKey": FULL, "y": [{}]}),
        json.dumps({"appPublicKey": None, "publicKey": 5, "key": KEY}),
        json.dumps({"appPublicKey": KEY, "publicKey": MALLORY["publicKeyCompressed"]}),
    ],
)
def test_a_key_is_found_in_whatever_dress(body: str) -> None:
    assert read_key_file(body.encode(), ADDRESS) == parse_key(KEY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\xff",
        KEY.encode("utf-16"),
        b'""',
        b"null",
        b"true",
        b"false",
        b"0",
        b"-1",
        b"1.5",
        b"1e400",
        b"NaN",
        b"[]",
        json.dumps([KEY]).encode(),
        b"{}",
        json.dumps({"other": KEY}).encode(),
        json.dumps({"key": {"publicKey": KEY}}).encode(),
        json.dumps({"key": [KEY]}).encode(),
        json.dumps({"appPublicKey": "", "publicKey": KEY[:-1]}).encode(),
        KEY[:-1].encode(),
        KEY.encode() + b"0",
        b"05" + KEY[2:].encode(),
        b"04" + KEY[2:].encode(),
        b"02" + FULL[2:].encode(),
        FULL[:-1].encode() + b"9",
        b"0X" + KEY.encode(),
        b"0x0x" + KEY.encode(),
        f"{KEY} {KEY}".encode(),
        f"{KEY[:33]} {KEY[33:]}".encode(),
        KEY[:-1].encode() + "３".encode(),
        BOB["btcAddress"].encode(),
        BOB["privateKey"].encode(),
        f'{{"key":"{KEY}"'.encode(),
        b"[" * 4000,
        b'{"a":' * 800,
        b"1" * 4096,
        b"-" + b"1" * 4000,
        b'"\\ud800"',
        b"<html>" + KEY.encode() + b"</html>",
    ],
)
def test_what_is_no_key_is_none_without_a_fuss(body: bytes) -> None:
    assert read_key_file(body, ADDRESS) is None


@pytest.mark.parametrize("whole", [KEY, f"0x{KEY}", FULL, FULL[2:], json.dumps(KEY), json.dumps({"publicKey": KEY})])
def test_every_beginning_of_a_key_file_may_be_one_that_is_being_written(whole: str) -> None:
    assert not is_unfinished(whole.encode())
    shorter = {66, 68, 128}  # which could be whole themselves
    beginnings = [whole[:length] for length in range(len(whole)) if length not in shorter]
    assert [beginning for beginning in beginnings if not is_unfinished(beginning.encode())] == []


@pytest.mark.parametrize(
    "body", [b"<html>", b"not a key", b"{}", b"[]", b"\xff", b"[" * 100_000, b"[" + b"9" * 4300 + b"9]", b"ab" * 80]
)
def test_what_is_no_beginning_of_a_key_file_is_not_being_written(body: bytes) -> None:
    assert not is_unfinished(body)


@pytest.mark.parametrize("prefix", ["06", "07"])
def test_a_hybrid_key_is_none(prefix: str) -> None:
    assert check_key(prefix + FULL[2:], ADDRESS) is None


@given(st.binary() | st.text().map(str.encode) | st.from_regex(rb'\A[{\["0-9a-fx:,}\]]*\Z'))
def test_whatever_the_bytes_the_answer_is_none(body: bytes) -> None:
    assert read_key_file(body, ADDRESS) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.text())
def test_whatever_stands_in_the_members_the_answer_is_none(value: Any, text: str) -> None:
    for name in ("appPublicKey", "publicKey", "pubKey", "public_key", "key"):
        assert read_key_file(json.dumps({name: value}).encode(), ADDRESS) is None
    assert check_key(text, ADDRESS) is None
