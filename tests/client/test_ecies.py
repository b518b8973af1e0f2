"""ECIES and signed envelopes: byte for byte what @stacks/encryption and blockstack.js make, and no byte else."""

import contextlib
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import BadEnvelope, CannotDecrypt, decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.tokens_and_cards import Pointer, make_message_id, read_pointer
from inbox_server.identity.keys import parse_key

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
ALICE, BOB, MALLORY = (AppKey.from_hex(KEYS[name]["privateKey"]) for name in ("aliceApp", "bobApp", "mallory"))
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
EPHEMERAL, IV = AppKey(b"\x07" * 32), b"\x09" * 16

ENCRYPTED = [vector for vector in VECTORS["ecies"] if "sign" not in vector["options"]]
SIGNED = [vector for vector in VECTORS["ecies"] if "sign" in vector["options"]]
FIXED = [vector for vector in VECTORS["ecies"] if "ephemeralPrivateKey" in vector]


def plain(vector: dict[str, Any]) -> str | bytes:
    raw = bytes.fromhex(vector["plaintextHex"])
    return raw.decode() if vector["decryptedType"] == "string" else raw


def inner(vector: dict[str, Any]) -> str:
    """The encrypted text of a vector, without the envelope around it."""
    return str(json.loads(vector["cipher"])["cipherText"]) if "sign" in vector["options"] else str(vector["cipher"])


@pytest.mark.parametrize("vector", VECTORS["ecies"], ids=lambda v: v["name"])
def test_what_stacks_js_encrypted_is_decrypted(vector: dict[str, Any]) -> None:
    assert decrypt(BOB, inner(vector)) == plain(vector)
    assert len(vector["cipher"]) == vector["cipherLength"]


@pytest.mark.parametrize("vector", FIXED, ids=lambda v: v["name"])
@pytest.mark.parametrize("form", ["publicKeyCompressed", "publicKeyUncompressed"])
def test_encrypting_gives_the_same_bytes_as_stacks_js(vector: dict[str, Any], form: str) -> None:
    text = encrypt(
        KEYS[vector["recipient"]][form],
        plain(vector),
        ephemeral=AppKey.from_hex(vector["ephemeralPrivateKey"]),
        iv=bytes.fromhex(vector["ivHex"]),
        as_base64=vector["options"].get("cipherTextEncoding") == "base64",
    )
    assert text == inner(vector)


@pytest.mark.parametrize("vector", SIGNED, ids=lambda v: v["name"])
def test_signing_gives_the_same_envelope_as_stacks_js(vector: dict[str, Any]) -> None:
    assert open_envelope(vector["cipher"]) == (parse_key(ALICE.public), inner(vector))
    assert sign_envelope(AppKey.from_hex(vector["options"]["sign"]), inner(vector)) == vector["cipher"]


def test_what_blockstack_js_made_is_opened_and_decrypted() -> None:
    made = VECTORS["blockstackJs2111"]
    assert decrypt(BOB, made["ecies"]) == made["plaintext"]
    signer, encrypted = open_envelope(made["signedEcies"])
    assert (signer.address, decrypt(BOB, encrypted)) == (ALICE.address, made["plaintext"])


@pytest.mark.parametrize("vector", VECTORS["ecdsa"], ids=lambda v: v["content"])
def test_signing_gives_the_same_signature_as_stacks_js(vector: dict[str, Any]) -> None:
    key = AppKey.from_hex(vector["privateKey"])
    assert key.sign(vector["content"].encode()).hex() == vector["result"]["signature"]
    assert key.public == vector["result"]["publicKey"]


@pytest.mark.parametrize(("size", "lengths"), VECTORS["eciesEnvelopeLengths"].items())
def test_an_envelope_is_as_long_as_stacks_js_makes_it(size: str, lengths: dict[str, int]) -> None:
    for as_base64, length in ((False, lengths["hex"]), (True, lengths["base64"])):
        text = encrypt(BOB.public, "x" * int(size), ephemeral=EPHEMERAL, iv=IV, as_base64=as_base64)
        assert len(text) == length


@given(st.text() | st.binary(), st.booleans())
def test_what_goes_in_comes_out(content: str | bytes, as_base64: bool) -> None:
    text = encrypt(BOB.public, content, ephemeral=EPHEMERAL, iv=IV, as_base64=as_base64)
    assert decrypt(BOB, text) == content
    with pytest.raises(CannotDecrypt):
        decrypt(MALLORY, text)


@pytest.mark.parametrize("vector", ENCRYPTED, ids=lambda v: v["name"])
@pytest.mark.parametrize("member", ["iv", "ephemeralPK", "cipherText", "mac"])
def test_a_change_to_any_part_is_noticed(vector: dict[str, Any], member: str) -> None:
    members = json.loads(vector["cipher"])
    written = members[member]
    for place in (0, 2, len(written) // 2, len(written) - 6):
        other = "1" if written[place] != "1" else "2"
        members[member] = written[:place] + other + written[place + 1 :]
        with pytest.raises(CannotDecrypt):
            decrypt(BOB, json.dumps(members))


def members(**changes: Any) -> str:
    """A good encrypted text with some members changed; None drops one."""
    made = json.loads(encrypt(BOB.public, "hello", ephemeral=EPHEMERAL, iv=IV)) | changes
    return json.dumps({name: value for name, value in made.items() if value is not None})


def forged(cipher_text: bytes, iv: bytes = IV) -> str:
    """A good MAC over what is no good cipher text; whoever encrypts can make that."""
    mac_key = hashlib.sha512(EPHEMERAL.shared_x(bytes.fromhex(BOB.public))).digest()[32:]
    mac = hmac.digest(mac_key, iv + bytes.fromhex(EPHEMERAL.public) + cipher_text, "sha256")
    return members(iv=iv.hex(), cipherText=cipher_text.hex(), mac=mac.hex())


PARTS = ("iv", "ephemeralPK", "cipherText", "mac")
NO_HEX: tuple[Any, ...] = (None, 5, [], "", "zz", "é")
GOOD: Any = json.loads(members())
NOT_UTF8 = encrypt(BOB.public, b"\xff\xfe", ephemeral=EPHEMERAL, iv=IV).replace("false", "true")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        "[]",
        "null",
        "5",
        '"x"',
        "[" * 100_000,
        members()[:-1],
        *(members(**{name: value}) for name in PARTS for value in NO_HEX),
        members(iv=GOOD["iv"] + "00"),
        members(iv=GOOD["iv"][2:]),
        members(mac=GOOD["mac"][2:]),
        members(mac=GOOD["mac"] + "00"),
        members(cipherText=GOOD["cipherText"] + "00" * 16),
        members(cipherText=GOOD["cipherText"][32:]),
        members(ephemeralPK="02" + f"{5:064x}"),
        members(ephemeralPK=BOB.public),
        members(cipherTextEncoding="base64"),
        members(cipherTextEncoding="base64", cipherText="é"),
        encrypt(BOB.public, "hello", ephemeral=EPHEMERAL, iv=IV, as_base64=True).replace('==","mac', '!==","mac'),
        forged(b""),
        forged(b"x" * 15),
        forged(b"x" * 16),
        forged(b"x" * 16, iv=IV[1:]),
        NOT_UTF8,
    ],
)
def test_what_is_not_encrypted_to_this_key_is_refused(text: str) -> None:
    with pytest.raises(CannotDecrypt):
        decrypt(BOB, text)


@given(st.text() | st.dictionaries(st.sampled_from(list(GOOD)), st.none() | st.integers() | st.text()).map(json.dumps))
def test_whatever_the_text_only_cannot_decrypt_is_raised(text: str) -> None:
    with pytest.raises(CannotDecrypt):
        decrypt(BOB, text)


ENVELOPE: Any = json.loads(sign_envelope(ALICE, members()))
R, S = decode_dss_signature(bytes.fromhex(ENVELOPE["signature"]))


def test_a_signature_with_a_high_s_holds_as_blockstack_js_makes_it() -> None:
    assert S <= N // 2
    high = ENVELOPE | {"signature": encode_dss_signature(R, N - S).hex()}
    assert open_envelope(json.dumps(high)) == (parse_key(ALICE.public), members())


@pytest.mark.parametrize(
    "changes",
    [
        {"cipherText": members() + " "},
        {"cipherText": ""},
        {"cipherText": GOOD},
        {"cipherText": None},
        {"cipherText": [members()]},
        {"publicKey": MALLORY.public},
        {"publicKey": ALICE.public.upper()},
        {"publicKey": KEYS["aliceApp"]["publicKeyUncompressed"]},
        {"publicKey": None},
        {"publicKey": [ALICE.public]},
        {"publicKey": {}},
        {"signature": MALLORY.sign(members().encode()).hex()},
        {"signature": f"{R:064x}{S:064x}"},
        {"signature": encode_dss_signature(R, S + 1).hex()},
        {"signature": ENVELOPE["signature"] + "00"},
        {"signature": ENVELOPE["signature"][:-2]},
        {"signature": "zz"},
        {"signature": ""},
        {"signature": None},
        {"signature": 5},
    ],
)
def test_an_envelope_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    assert open_envelope(json.dumps(ENVELOPE)) == (parse_key(ALICE.public), members())
    with pytest.raises(BadEnvelope):
        open_envelope(json.dumps(ENVELOPE | changes))


@pytest.mark.parametrize(
    "text", ["", "x", "{}", "[]", "null", "5", "[" * 100_000, members(), '{"cipherText":"\\ud800"}']
)
def test_what_is_no_envelope_is_refused(text: str) -> None:
    with pytest.raises(BadEnvelope):
        open_envelope(text)


VALUES = st.none() | st.integers() | st.text() | st.lists(st.text()) | st.sampled_from(list(ENVELOPE.values()))


@given(st.text() | st.dictionaries(st.sampled_from(list(ENVELOPE)), VALUES).map(json.dumps))
def test_whatever_the_envelope_only_bad_envelope_is_raised(text: str) -> None:
    with contextlib.suppress(BadEnvelope):
        assert open_envelope(text) == (parse_key(ALICE.public), members())


def pointer_of(size: int) -> Pointer:
    """A pointer whose JSON has this many bytes."""
    return Pointer("0" * 32, "", "x" * (size - len('{"v":1,"id":"","from":"","app":""}') - 32))


@given(st.integers(66, 415), st.binary(min_size=16, max_size=16), st.integers(1, N - 1))
def test_a_message_id_has_816_characters_whatever_it_says(size: int, iv: bytes, secret: int) -> None:
    ephemeral = AppKey(secret.to_bytes(32, "big"))
    text = make_message_id(pointer_of(size), BOB.public, ephemeral=ephemeral, iv=iv)
    assert len(text) == 816
    assert text.isascii()
    assert text.isprintable()
    padded = decrypt(BOB, text)
    assert isinstance(padded, str)
    assert len(padded.encode()) == 415
    assert len(padded.rstrip()) == size


def test_a_pointer_that_does_not_fit_is_not_cut() -> None:
    for pointer in (pointer_of(416), Pointer("0" * 32, "ü" * 70, "https://chat.example")):
        with pytest.raises(ValueError, match="415"):
            make_message_id(pointer, BOB.public, ephemeral=EPHEMERAL, iv=IV)


def test_a_pointer_arrives_as_it_was_sent() -> None:
    for sender in ("alice.id", "alice.id.blockstack", ALICE.public):
        pointer = Pointer("0123456789abcdef" * 2, sender, "https://chat.example")
        text = make_message_id(pointer, BOB.public, ephemeral=EPHEMERAL, iv=IV)
        assert read_pointer(decrypt(BOB, text)) == pointer
