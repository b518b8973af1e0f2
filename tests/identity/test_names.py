"""Names, keys, addresses and origins as tokens may write them: one way each."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.identity.keys import PublicKey, parse_key
from inbox_server.identity.names import (
    Address,
    Name,
    NotAnIdentity,
    is_origin,
    parse_name,
    parse_recipient,
    parse_sender,
)

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
BOB = VECTORS["keys"]["bobApp"]
KEY, ADDRESS = BOB["publicKeyCompressed"], BOB["btcAddress"]

NAMES = [
    "alice.id",
    "alice.btc",
    "alice.id.blockstack",
    "a.b",
    "0.1",
    "_a-b+c.d_e",
    "a" * 48 + ".id",
    ".".join(["z" * 48] * 3),
    "02" + "a" * 46 + ".id",
]
NOT_NAMES = [
    "",
    ".",
    "alice",
    "alice.",
    ".id",
    "alice..id",
    "a.b.c.d",
    "Alice.id",
    "alice.ID",
    "alice.id.",
    " alice.id",
    "alice.id ",
    "alice.id\n",
    "alice\n.id",
    "al ice.id",
    "alice.id/x",
    "alice.id?x",
    "alice.id#x",
    "alice%2eid",
    "alice%2e.id",
    "../alice.id",
    "älice.id",
    "аlice.id",
    "alice.ıd",
    "alice。id",
    "١.id",
    "a" * 49 + ".id",
    "alice." + "d" * 49,
    "alice.id\0",
    "alice\ud800.id",
    "https://alice.id",
]
NOT_KEYS = [
    "",
    KEY.upper(),
    KEY[:-1],
    KEY + "0",
    KEY + "\n",
    "0x" + KEY,
    "04" + KEY[2:],
    "02" + f"{5:064x}",
    BOB["publicKeyUncompressed"],
]
NOT_ADDRESSES = [
    ADDRESS[:-1] + "6",
    ADDRESS + " ",
    ADDRESS.lower(),
    "x" + ADDRESS,
    BOB["btcTestnetAddress"],
    BOB["stacksMainnet"],
    BOB["didBtcAddr"],
    "34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7",
]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_of_two_or_three_labels_is_taken_from_everyone(text: str) -> None:
    assert parse_name(text) == parse_sender(text) == parse_recipient(text) == Name(text)


@pytest.mark.parametrize("text", NOT_NAMES)
def test_what_is_no_name_is_refused_from_everyone(text: str) -> None:
    for parse in (parse_name, parse_sender, parse_recipient):
        with pytest.raises(NotAnIdentity):
            parse(text)


def test_a_key_is_taken_from_everyone_and_is_no_name() -> None:
    assert parse_sender(KEY) == parse_recipient(KEY) == parse_key(KEY)
    with pytest.raises(NotAnIdentity):
        parse_name(KEY)


@pytest.mark.parametrize("text", NOT_KEYS)
def test_what_is_no_key_in_its_one_form_is_refused(text: str) -> None:
    for parse in (parse_sender, parse_recipient):
        with pytest.raises(NotAnIdentity):
            parse(text)


def test_an_address_is_taken_for_a_recipient_only() -> None:
    assert parse_recipient(ADDRESS) == Address(ADDRESS)
    for parse in (parse_name, parse_sender):
        with pytest.raises(NotAnIdentity):
            parse(ADDRESS)


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_what_is_no_bucket_address_is_refused(text: str) -> None:
    with pytest.raises(NotAnIdentity):
        parse_recipient(text)


@pytest.mark.parametrize("text", ["mallory-was-here", "mallory-was-here/.id", "1mallory-was-here", "02mallory"])
def test_a_refusal_repeats_nothing_of_the_text(text: str) -> None:
    for parse in (parse_name, parse_sender, parse_recipient):
        with pytest.raises(NotAnIdentity) as refusal:
            parse(text)
        assert "mallory" not in str(refusal.value)
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "https://chat.example",
        "http://chat.example",
        "https://chat.example:8443",
        "http://localhost:3000",
        "http://127.0.0.1:8710",
        "http://[::1]:8710",
        "https://[2001:db8::1]",
        "https://xn--bcher-kva.example",
        "https://a_b.example",
        "https://chat.example:1",
        "https://chat.example:65535",
        "https://" + "a" * 252,
    ],
)
def test_an_origin_as_browsers_write_it_is_one(text: str) -> None:
    assert is_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chat.example",
        "//chat.example",
        "https://",
        "https:chat.example",
        "https:/chat.example",
        "ftp://chat.example",
        "wss://chat.example",
        "null",
        "HTTPS://chat.example",
        "https://Chat.example",
        "https://chat.example/",
        "https://chat.example/x",
        "https://chat.example?x",
        "https://chat.example#x",
        "https://user@chat.example",
        "https://user:pass@chat.example",
        "https://chat..example",
        "https://.example",
        "https://chat.example.",
        "https://chat.example:",
        "https://chat.example:0",
        "https://chat.example:08443",
        "https://chat.example:123456",
        "https://chat.example:x",
        "https://chat.example:٣",
        "https://bücher.example",
        "https://chat.example\n",
        " https://chat.example",
        "https://chat.example ",
        "https://chat\t.example",
        "https://chat.example\\x",
        "https://chat%2eexample",
        "https://[::1",
        "https://[]",
        "https://[::G]",
        "https://[fe80::1%25eth0]",
        "https://" + "a" * 253,
    ],
)
def test_what_no_browser_writes_as_an_origin_is_none(text: str) -> None:
    assert not is_origin(text)


@pytest.mark.parametrize("text", ["https://chat.example:443", "http://chat.example:80"])
def test_the_schemes_own_port_is_not_written_in_an_origin(text: str) -> None:
    assert not is_origin(text)


@pytest.mark.parametrize("text", ["https://chat.example:65536", "https://chat.example:99999"])
def test_a_port_that_cannot_be_is_in_no_origin(text: str) -> None:
    assert not is_origin(text)


@given(st.text() | st.text("abc.-_+A\n0123456789", max_size=60) | st.from_regex(r"0[23][0-9a-f]{64}", fullmatch=True))
def test_whatever_the_text_only_not_an_identity_is_raised(text: str) -> None:
    for parse in (parse_name, parse_sender, parse_recipient):
        with contextlib.suppress(NotAnIdentity):
            identity = parse(text)
            assert (identity.hex if isinstance(identity, PublicKey) else identity.text) == text


@given(st.text() | st.text("htps:/abc.[]:0123456789@ ", max_size=40).map(lambda rest: "https://" + rest))
def test_no_text_makes_the_question_about_origins_fail(text: str) -> None:
    assert not is_origin(text) or (text.isascii() and text == text.strip() and text.count("/") == 2)
