"""base64url: one text for every byte sequence, and one byte sequence for every text that is taken."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.protocol.base64url import NotBase64Url, decode, encode

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
        (b"\x14\xfb\x9c\x03\xd9\x7e", "FPucA9l-"),
        (b"\xff\xff\xff", "____"),
        (b"\xfb\xef\xbe", "----"),
        (b"\0", "AA"),
    ],
)
def test_the_vectors_of_rfc_4648_hold_without_padding(raw: bytes, text: str) -> None:
    assert encode(raw) == text
    assert decode(text) == raw


@pytest.mark.parametrize(
    "text",
    [
        "Zg==",
        "Zg=",
        "Zm8=",
        "=",
        "====",
        "Zm9v=",
        "A",
        "Zm9vA",
        "+/+/",
        "Zm9v\n",
        "\nZm9v",
        " Zm9v",
        "Zm 9v",
        "Zm9v\0",
        "Zm9v.",
        "Zm9v~",
        "Zm9v%3D",
        "Zm9é",
        "ＡＡＡＡ",
        "٣٣٣٣",
        "Zm9v\ud800",
    ],
)
def test_foreign_characters_padding_and_a_single_left_over_are_refused(text: str) -> None:
    with pytest.raises(NotBase64Url):
        decode(text)


@pytest.mark.parametrize("last", ALPHABET)
def test_only_one_of_the_texts_that_end_alike_is_canonical(last: str) -> None:
    for text, taken in ((f"A{last}", "AQgw"), (f"AA{last}", ALPHABET[::4])):
        if last in taken:
            assert encode(decode(text)) == text
        else:
            with pytest.raises(NotBase64Url):
                decode(text)


@given(st.binary())
def test_what_was_encoded_is_decoded(raw: bytes) -> None:
    text = encode(raw)
    assert decode(text) == raw
    assert text == base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert set(text) <= set(ALPHABET)


@given(st.text() | st.text(ALPHABET) | st.text(ALPHABET + "=+/ \n"))
def test_whatever_the_text_it_is_canonical_or_refused(text: str) -> None:
    with contextlib.suppress(NotBase64Url):
        assert encode(decode(text)) == text


@given(st.binary(min_size=1), st.data())
def test_no_two_texts_are_the_same_bytes(raw: bytes, draw: st.DataObject) -> None:
    text = encode(raw)
    place = draw.draw(st.integers(0, len(text) - 1))
    other = text[:place] + draw.draw(st.sampled_from(ALPHABET)) + text[place + 1 :]
    try:
        assert (decode(other) == raw) == (other == text)
    except NotBase64Url:
        assert place == len(text) - 1
