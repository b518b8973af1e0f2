"""Addresses: the same 20 bytes in base58check and in c32check, against what Stacks' own libraries make."""

import hashlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.identity import addresses
from inbox_server.identity.addresses import (
    NotAnAddress,
    app_address,
    base58check_decode,
    base58check_encode,
    c32check_decode,
    c32check_encode,
    hash160,
    is_app_address,
    owner_hash,
    ripemd160,
)

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
CONVERSIONS = VECTORS["addressConversions"]
KEYS = VECTORS["keys"].values()
C32_TO_BASE58 = {22: 0, 20: 5, 26: 111, 21: 196}

BOB = "1HHDur2Up1zDDjXYT8tskinSt4TczFaWb5"
BOB_C32 = "SP2S96WGJDQR7F99R43W2DBJHF422WQE7FMN7JPQP"

HASHES = st.binary(min_size=20, max_size=20) | st.integers(0, 20).map(lambda n: (b"\xff" * n).rjust(20, b"\0"))


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: c["c32"])
def test_both_writings_of_an_address_hold_the_same_hash(conversion: dict[str, Any]) -> None:
    c32_version, c32_hash = c32check_decode(conversion["c32"])
    version, digest = base58check_decode(conversion["base58"])
    assert digest == c32_hash
    assert version == C32_TO_BASE58[c32_version]
    if "decoded" in conversion:
        assert [c32_version, c32_hash.hex()] == conversion["decoded"]


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: c["c32"])
def test_encoding_gives_the_texts_of_the_vectors(conversion: dict[str, Any]) -> None:
    version, digest = base58check_decode(conversion["base58"])
    c32_version = {v: k for k, v in C32_TO_BASE58.items()}[version]
    assert base58check_encode(version, digest) == conversion["base58"]
    assert c32check_encode(c32_version, digest) == conversion["c32"]


@pytest.mark.parametrize("key", KEYS, ids=lambda k: k["label"])
def test_every_address_of_a_key_is_the_one_that_wallets_show(key: dict[str, str]) -> None:
    compressed = hash160(bytes.fromhex(key["publicKeyCompressed"]))
    uncompressed = hash160(bytes.fromhex(key["publicKeyUncompressed"]))
    assert compressed.hex() == key["hash160Compressed"]
    assert uncompressed.hex() == key["hash160Uncompressed"]
    assert app_address(bytes.fromhex(key["publicKeyCompressed"])) == key["btcAddress"]
    assert base58check_encode(0, uncompressed) == key["btcAddressOfUncompressed"]
    assert base58check_encode(111, compressed) == key["btcTestnetAddress"]
    assert c32check_encode(22, compressed) == key["stacksMainnet"]
    assert c32check_encode(26, compressed) == key["stacksTestnet"]


@pytest.mark.parametrize("key", KEYS, ids=lambda k: k["label"])
def test_an_owner_is_the_same_in_every_writing(key: dict[str, str]) -> None:
    for writing in ("btcAddress", "btcTestnetAddress", "stacksMainnet", "stacksTestnet"):
        assert owner_hash(key[writing]).hex() == key["hash160Compressed"]
    assert owner_hash(key["stacksMainnet"].lower()).hex() == key["hash160Compressed"]
    assert owner_hash(key["btcAddressOfUncompressed"]).hex() == key["hash160Uncompressed"]


@pytest.mark.parametrize("version", [20, 21, 0, 31])
def test_an_owner_that_no_single_key_can_be_is_refused_in_c32(version: int) -> None:
    with pytest.raises(NotAnAddress, match="single key"):
        owner_hash(c32check_encode(version, bytes(20)))


@pytest.mark.parametrize("address", ["34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7", base58check_encode(196, b"x" * 20)])
def test_an_owner_that_no_single_key_can_be_is_refused_in_base58(address: str) -> None:
    with pytest.raises(NotAnAddress, match="single key"):
        owner_hash(address)


@pytest.mark.parametrize("key", KEYS, ids=lambda k: k["label"])
def test_only_a_mainnet_base58_address_is_a_buckets(key: dict[str, str]) -> None:
    assert is_app_address(key["btcAddress"])
    for other in ("btcTestnetAddress", "stacksMainnet", "stacksTestnet", "didBtcAddr", "publicKeyCompressed"):
        assert not is_app_address(key[other])
    assert not is_app_address(base58check_encode(5, bytes(20)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "length"),
        ("1", "length"),
        (BOB[:25], "length"),
        (BOB + "1" * 10, "length"),
        ("1" * 26, "length"),
        ("1" * 36, "length"),
        ("1" + BOB, "length"),
        (BOB[1:], "length"),
        ("z" * 36, "length"),
        (BOB[:-1] + "6", "checksum"),
        ("2" + BOB[1:], "checksum"),
        (BOB[:5] + BOB[6] + BOB[5] + BOB[7:], "checksum"),
        (BOB[:-1] + "0", "character"),
        (BOB[:-1] + "O", "character"),
        (BOB[:-1] + "I", "character"),
        (BOB[:-1] + "l", "character"),
        (BOB[:-1] + " ", "character"),
        (BOB + "\n", "character"),
        (BOB[:-1] + "５", "character"),
    ],
)
def test_a_bad_base58_address_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotAnAddress, match=reason):
        base58check_decode(text)
    assert not is_app_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "length"),
        ("S", "length"),
        ("SP", "length"),
        ("SPP", "length"),
        ("P" + BOB_C32[1:], "length"),
        ("SU" + BOB_C32[2:], "length"),
        ("SP" + "Z" * 39, "length"),
        ("SP" + "0" * 42, "length"),
        (BOB_C32[:-1] + "Q", "checksum"),
        ("SM" + BOB_C32[2:], "checksum"),
        (BOB_C32[:-1], "checksum"),
        (BOB_C32[:5] + BOB_C32[6] + BOB_C32[5] + BOB_C32[7:], "checksum"),
        (BOB_C32[:-1] + "U", "character"),
        (BOB_C32[:-1] + "-", "character"),
        (BOB_C32 + "\n", "character"),
    ],
)
def test_a_bad_c32_address_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotAnAddress, match=reason):
        c32check_decode(text)


def test_c32_takes_lower_case_and_the_letters_that_look_like_digits() -> None:
    address = "SP000000000000000000002Q6VF78"
    assert c32check_decode(address.lower()) == (22, bytes(20))
    assert c32check_decode(address.replace("0", "O")) == (22, bytes(20))
    with_one = next(c["c32"] for c in CONVERSIONS if "1" in c["c32"])
    assert c32check_decode(with_one.replace("1", "I")) == c32check_decode(with_one)
    assert c32check_decode(with_one.replace("1", "l")) == c32check_decode(with_one)


@pytest.mark.parametrize(("letter", "twin"), [("S", "ſ"), ("1", "ı"), ("ST", "ﬆ")])
def test_c32_takes_no_letter_that_only_upper_case_makes_ascii(letter: str, twin: str) -> None:
    address = "ST1EZHZP6T66D0BZA3D2Q7H6V0WNQA5HJTNR9NCJG"
    with pytest.raises(NotAnAddress):
        c32check_decode(address.replace(letter, twin, 1))


@given(st.integers(0, 255), HASHES)
def test_base58_decodes_what_it_encoded(version: int, digest: bytes) -> None:
    assert base58check_decode(base58check_encode(version, digest)) == (version, digest)


@given(st.integers(0, 31), HASHES)
def test_c32_decodes_what_it_encoded(version: int, digest: bytes) -> None:
    assert c32check_decode(c32check_encode(version, digest)) == (version, digest)


@given(st.integers(0, len(BOB) - 1), st.characters())
def test_no_character_of_a_base58_address_can_be_changed(place: int, character: str) -> None:
    changed = BOB[:place] + character + BOB[place + 1 :]
    assert is_app_address(changed) == (changed == BOB)


@given(st.integers(1, len(BOB_C32) - 1), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTUVWXYZ"))
def test_no_character_of_a_c32_address_can_be_changed(place: int, character: str) -> None:
    changed = BOB_C32[:place] + character + BOB_C32[place + 1 :]
    if changed == BOB_C32:
        return
    with pytest.raises(NotAnAddress):
        c32check_decode(changed)


@given(st.text() | st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=26, max_size=36))
def test_whatever_the_text_only_not_an_address_is_raised(text: str) -> None:
    for decode in (base58check_decode, c32check_decode, owner_hash, lambda text: owner_hash("S" + text)):
        with pytest.raises(NotAnAddress):
            decode(text)


@pytest.mark.parametrize("decode", [base58check_decode, c32check_decode, owner_hash])
def test_a_text_of_any_size_is_refused_before_it_is_reckoned_with(decode: Callable[[str], object]) -> None:
    """The timeout of every test is the assertion: as a number this text would take many minutes."""
    for text in ("2" * 3_000_000, "S" * 3_000_000):
        with pytest.raises(NotAnAddress, match="length"):
            decode(text)


@pytest.mark.parametrize("decode", [base58check_decode, c32check_decode, owner_hash])
@pytest.mark.parametrize("text", ["1mallory-was-here-and-here-too", "Smallory-was-here", BOB[:-1] + "6"])
def test_a_refusal_repeats_nothing_of_the_text(decode: Callable[[str], object], text: str) -> None:
    with pytest.raises(NotAnAddress) as refusal:
        decode(text)
    assert not any(text[start : start + 6] in str(refusal.value) for start in range(len(text) - 6))


def without_openssls(patch: pytest.MonkeyPatch) -> Callable[[bytes], bytes]:
    """`ripemd160` as it is made where OpenSSL has none."""

    def absent(*_: object, **__: object) -> None:
        raise ValueError("unsupported hash type ripemd160")

    patch.setattr(hashlib, "new", absent)
    made: Callable[[bytes], bytes] = runpy.run_path(addresses.__file__)["ripemd160"]
    return made


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "9c1185a5c5e9fc54612808977ee8f548b2258d31"),
        (b"abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        (b"message digest", "5d0689ef49d2fae572b881b123a85ffa21595f36"),
    ],
)
def test_ripemd160_is_right_with_and_without_openssls(
    monkeypatch: pytest.MonkeyPatch, message: bytes, digest: str
) -> None:
    assert ripemd160(message).hex() == digest
    assert without_openssls(monkeypatch)(message).hex() == digest


with pytest.MonkeyPatch.context() as openssl:
    FALLBACK = without_openssls(openssl)


@given(st.binary(max_size=300))
def test_the_fallback_hashes_as_openssl_does(message: bytes) -> None:
    assert FALLBACK(message) == ripemd160(message)
