"""Cursors: opaque to clients, read back as they were written, and refused when they are not ours."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.errors import Refused
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.feed_json import parse_cursor, write_cursor
from inbox_server.store.contract import Cursor

GENERATION = bytes(range(8))
LARGEST = 2**63 - 1
"""What SQLite's integers hold."""
CURSOR = Cursor(GENERATION, change=1, listed_at=2)
TEXT = write_cursor(CURSOR)
FULL = len(TEXT)
NUMBERS = st.integers(0, LARGEST)


@given(st.binary(min_size=8, max_size=8), NUMBERS, NUMBERS)
def test_a_cursor_is_read_back_as_it_was_written(generation: bytes, change: int, listed_at: int) -> None:
    cursor = Cursor(generation, change, listed_at)
    text = write_cursor(cursor)
    assert parse_cursor(text) == cursor
    assert len(text) == FULL
    assert text.isascii()


def test_a_cursor_is_the_generation_and_two_numbers() -> None:
    assert encode(GENERATION + b"\0\0\0\0\0\0\0\x01" + b"\0\0\0\0\0\0\0\x02") == TEXT


@pytest.mark.parametrize("number", [2**63, 2**63 + 1, 2**64 - 1])
def test_a_number_too_large_for_the_database_stays_ahead_of_every_inbox(number: int) -> None:
    huge = number.to_bytes(8, "big")
    small = b"\0\0\0\0\0\0\0\x01"
    assert parse_cursor(encode(GENERATION + huge + small)) == Cursor(GENERATION, LARGEST, 1)
    assert parse_cursor(encode(GENERATION + small + huge)) == Cursor(GENERATION, 1, LARGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "null",
        "mallory-was-here",
        TEXT[:-1],
        TEXT[:-2],
        TEXT[:-4],
        TEXT[1:],
        TEXT + "A",
        TEXT + "AA",
        TEXT + TEXT,
        TEXT + "=",
        TEXT + "==",
        TEXT[:-1] + "=",
        TEXT[:-1] + "+",
        TEXT[:-1] + " ",
        TEXT[:-1] + "Ａ",
        TEXT[:-1] + "\0",
        TEXT[:-1] + "\ud800",
        " " + TEXT,
        TEXT + "\n",
        TEXT + "%3D",
        "A" * 4096,
        encode(bytes(8)),
        encode(bytes(16)),
        encode(bytes(23)),
        encode(bytes(25)),
    ],
)
def test_what_is_no_cursor_of_this_server_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_cursor(text)
    assert (refusal.value.code, refusal.value.member) == ("bad_cursor", "after")
    assert "mallory" not in refusal.value.detail


def outcome(text: str) -> str | Cursor:
    try:
        return parse_cursor(text)
    except Refused as refusal:
        return refusal.code


@given(st.text() | st.text("AQgw09-_=", min_size=FULL - 2, max_size=FULL + 2))
def test_whatever_the_text_only_bad_cursor_is_raised(text: str) -> None:
    read = outcome(text)
    if isinstance(read, str):
        assert read == "bad_cursor"
    elif LARGEST not in (read.change, read.listed_at):
        assert write_cursor(read) == text


@given(st.sampled_from(["generation", "change", "listed_at"]), st.binary(min_size=8, max_size=8), NUMBERS)
def test_no_part_of_a_cursor_is_left_out(part: str, generation: bytes, number: int) -> None:
    changes: dict[str, Any] = {part: generation if part == "generation" else number}
    other = replace(CURSOR, **changes)
    assert (write_cursor(other) == TEXT) == (other == CURSOR)
