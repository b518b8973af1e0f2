"""Strict JSON: what two readers could read differently is refused, and nothing but `NotStrict` is raised."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.protocol.strict_json import MAX_DEPTH, NotStrict, parse_object

MARK = "mallory-was-here"

JSON_WITHOUT_FLOATS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (b"{}", {}),
        (b' \t\r\n{ "a" : [ 1 , -2 , 0 ] } \n', {"a": [1, -2, 0]}),
        (b'{"a":{"b":1},"c":{"b":2}}', {"a": {"b": 1}, "c": {"b": 2}}),
        (b'{"a":true,"b":false,"c":null}', {"a": True, "b": False, "c": None}),
        ('{"ü":"☂ 🚀"}'.encode(), {"ü": "☂ 🚀"}),
        (b'{"a":"\\u0041\\ud83d\\ude80\\/"}', {"a": "A🚀/"}),
        (b'{"a":1,"A":2,"a ":3}', {"a": 1, "A": 2, "a ": 3}),
        (b'{"a":' + b"9" * 400 + b"}", {"a": int("9" * 400)}),
    ],
)
def test_a_json_object_of_integers_and_texts_is_read(raw: bytes, parsed: dict[str, Any]) -> None:
    assert parse_object(raw) == parsed


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        b'{"a":1,"\\u0061":2}',
        b'{"\\u0061":1,"\\u0061":2}',
        b'{"a/b":1,"a\\/b":2}',
        b'{"":1,"":2}',
        '{"ü":1,"\\u00fc":2}'.encode(),
        '{"🚀":1,"\\ud83d\\ude80":2}'.encode(),
        b'{"x":{"a":1,"a":2}}',
        b'{"x":[[{"a":1,"a":2}]]}',
    ],
)
def test_the_same_member_twice_is_refused_however_it_is_written(raw: bytes) -> None:
    with pytest.raises(NotStrict, match="twice"):
        parse_object(raw)


@pytest.mark.parametrize(
    "number", ["1.0", "1.5", "-0.0", "1e2", "1E2", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "-Infinity"]
)
@pytest.mark.parametrize("where", ['{"a":%s}', '{"a":[%s]}', '{"a":{"b":%s}}', "%s", "[%s]"])
def test_a_number_that_is_no_integer_is_refused(number: str, where: str) -> None:
    with pytest.raises(NotStrict, match="integer"):
        parse_object((where % number).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        '{"a":1}'.encode("utf-16"),
        b"\xff\xfe{}",
    ],
)
def test_bytes_that_are_not_utf_8_are_refused(raw: bytes) -> None:
    with pytest.raises(NotStrict, match="UTF-8"):
        parse_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32-be"),
        b"{",
        b"{}{}",
        b"{},",
        b"{} x",
        b"{}\0",
        b"\x0b{}",
        b"\xc2\xa0{}",
        b"{'a':1}",
        b"{a:1}",
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":0x1}',
        b'{"a":"\n"}',
        b'{"a":"\0"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u00g0"}',
        b'{"a":undefined}',
        b'{"a":True}',
        b'{"a":1}//',
        b'/**/{"a":1}',
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotStrict, match="valid JSON"):
        parse_object(raw)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 2_000, 100_000])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_deep_nesting_is_refused_by_every_version_of_python(depth: int, pair: str) -> None:
    whole = '{"a":' + pair[:-1] * depth + "1" + pair[-1] * depth + "}"
    with pytest.raises(NotStrict, match="nested too deep"):
        parse_object(whole.encode())
    with pytest.raises(NotStrict):
        parse_object(whole[: len(whole) // 2].encode())


@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_what_is_nested_less_is_read_however_long_it_is(pair: str) -> None:
    deep = pair[:-1] * (MAX_DEPTH - 2) + "1" + pair[-1] * (MAX_DEPTH - 2)
    parse_object(f'{{"a":[{",".join([deep] * 5)}]}}'.encode())


@pytest.mark.parametrize("text", ["x", "\\u0041", "\\ud800"])
def test_no_depth_is_read_and_then_fails(text: str) -> None:
    """What is done with the text after reading it nests as deeply, a few frames further down."""
    for depth in range(500, 1200):
        with contextlib.suppress(NotStrict):
            parse_object(b'{"a":' + b"[" * depth + f'"{text}"'.encode() + b"]" * depth + b"}")


@pytest.mark.parametrize("raw", [b"[]", b'["a"]', b'"a"', b"1", b"true", b"null", b'[{"a":1}]'])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(NotStrict, match="object"):
        parse_object(raw)


@pytest.mark.parametrize(
    "raw", [b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b'{"a":["x\\udfff"]}', b'{"\\ud83d":1}', b'{"a":"\\uD800x"}']
)
def test_half_a_character_is_refused(raw: bytes) -> None:
    """RFC 7493 section 2.1. Python reads it, and cannot write it as UTF-8: whoever encodes it later fails."""
    with pytest.raises(NotStrict):
        parse_object(raw)


@pytest.mark.parametrize("body", ['{"%s":1,"%s":2}', '{"%s":1.5}', '{"%s":1', '["%s"]', '{"%s":"\\x"}'])
def test_a_refusal_repeats_nothing_of_the_text(body: str) -> None:
    with pytest.raises(NotStrict) as refusal:
        parse_object(body.replace("%s", MARK).encode())
    assert MARK not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(st.dictionaries(st.text(), JSON_WITHOUT_FLOATS, max_size=6), st.booleans())
def test_what_json_writes_without_floats_is_read_back(members: dict[str, Any], ascii_only: bool) -> None:
    assert parse_object(json.dumps(members, ensure_ascii=ascii_only).encode()) == members


@given(st.binary() | st.text().map(str.encode) | st.text('{}[]",:\\u0d8ef19.-+ntr ').map(str.encode))
def test_whatever_the_bytes_only_not_strict_is_raised(raw: bytes) -> None:
    with contextlib.suppress(NotStrict):
        assert isinstance(parse_object(raw), dict)


@given(st.dictionaries(st.text(max_size=3), st.floats() | st.integers(), max_size=3), st.text(max_size=3))
def test_what_is_read_is_what_pythons_own_reader_reads(members: dict[str, Any], tail: str) -> None:
    raw = (json.dumps(members) + tail).encode()
    with contextlib.suppress(NotStrict):
        assert parse_object(raw) == json.loads(raw)
