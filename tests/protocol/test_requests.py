"""Request bodies: what is taken, and each rule refused with `bad_request` and the member that broke it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.errors import Refused
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.requests import (
    MAX_MESSAGE_ID_CHARACTERS,
    DeliveryBody,
    SettingsBody,
    parse_ack,
    parse_delivery,
    parse_settings,
)
from inbox_server.store.texts import TEXT_BYTES

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
BOB = VECTORS["keys"]["bobApp"]
ADDRESS = BOB["btcAddress"]
ID = encode(bytes(range(32)))
MARK = "mallory-was-here"
DAY = 86_400

Parse = Callable[[bytes], object]


def settings(body: bytes) -> SettingsBody:
    return parse_settings(body, max_retention=90 * DAY, list_entries=3)


def written(members: Any) -> bytes:
    return json.dumps(members).encode()


def refused(parse: Parse, body: bytes) -> Refused:
    """The refusal, which repeats nothing of what the caller wrote."""
    with pytest.raises(Refused) as raised:
        parse(body)
    assert MARK not in f"{raised.value!r} {raised.value.detail} {raised.value.member}"
    return raised.value


@pytest.mark.parametrize("parse", [parse_delivery, parse_ack, settings])
@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"x"',
        b" ",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"message_id":"x","message_id":"x","ids":[],"ids":[]}',
        b'{"message_id":"x","message_\\u0069d":"x"}',
        b'{"message_id":"x","ids":[],"ttl":60.0}',
        b'{"message_id":"x","ids":[],"retention":1e400}',
        b'{"ids":' + b"[" * 5000,
        b'{"ttl":' + b"9" * 5000 + b"}",
        written({"message_id": "x", "ids": [], MARK: 1}),
        written({"message_id": "x", "ids": [], "Names": []}),
        written({MARK: MARK}),
    ],
)
def test_a_body_that_is_no_object_of_known_members_is_refused(parse: Parse, body: bytes) -> None:
    refusal = refused(parse, body)
    assert (refusal.code, refusal.member) == ("bad_request", "body")


@pytest.mark.parametrize("parse", [parse_delivery, parse_ack])
def test_an_empty_body_is_no_delivery_and_no_acknowledgement(parse: Parse) -> None:
    assert refused(parse, b"").member == "body"


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b'{"message_id":"x"}', DeliveryBody("x", None)),
        (b' { "ttl" : 10 , "message_id" : "x" } \n', DeliveryBody("x", 10)),
        (b'{"message_id":" ~!","ttl":60}', DeliveryBody(" ~!", 60)),
        (b'{"message_id":"\\u0041\\/\\"\\\\"}', DeliveryBody('A/"\\', None)),
        (b'{"message_id":"x","receipt":true}', DeliveryBody("x", None, receipt=True)),
        (b'{"receipt": true, "ttl": 10, "message_id": "x"}', DeliveryBody("x", 10, receipt=True)),
        (b'{"message_id":"x","ttl":10,"receipt":false}', DeliveryBody("x", 10)),
        (written({"message_id": "m" * 1024}), DeliveryBody("m" * 1024, None)),
        (written({"message_id": "x", "ttl": 10**30}), DeliveryBody("x", 10**30)),
    ],
)
def test_a_delivery_is_read(body: bytes, parsed: DeliveryBody) -> None:
    assert parse_delivery(body) == parsed


@pytest.mark.parametrize(
    "message_id",
    ["", "m" * 1025, "\n", "x\n", "x\0", "x\x1f", "x\x7f", "é", "☂", "\u2028", None, True, 1, ["x"], {"x": MARK}],
)
def test_a_message_id_is_a_thousand_printable_ascii_characters_at_most(message_id: Any) -> None:
    refusal = refused(parse_delivery, written({"message_id": message_id}))
    assert (refusal.code, refusal.member) == ("bad_request", "message_id")


@pytest.mark.parametrize("ttl", [9, 0, -1, -(10**30), None, True, False, "60", MARK, [60], {}])
def test_a_time_to_live_is_ten_seconds_or_more(ttl: Any) -> None:
    refusal = refused(parse_delivery, written({"message_id": "x", "ttl": ttl}))
    assert (refusal.code, refusal.member) == ("bad_request", "ttl")


def test_a_delivery_needs_a_message_id() -> None:
    for body in (b"{}", b'{"ttl":60}'):
        assert refused(parse_delivery, body).member == "message_id"


@pytest.mark.parametrize(
    ("ids", "parsed"),
    [
        ([], ()),
        ([ID], (bytes(range(32)),)),
        ([ID, encode(bytes(32)), ID], (bytes(range(32)), bytes(32), bytes(range(32)))),
        ([ID] * 1000, (bytes(range(32)),) * 1000),
    ],
)
def test_an_acknowledgement_is_read(ids: list[str], parsed: tuple[bytes, ...]) -> None:
    assert parse_ack(written({"ids": ids})) == parsed


@pytest.mark.parametrize(
    "ids",
    [
        None,
        True,
        ID,
        {ID: ID},
        [ID] * 1001,
        [None],
        [1],
        [[ID]],
        [ID, 1],
        [""],
        [ID[:-1]],
        [ID + "A"],
        [ID + "="],
        [ID[:-1] + "9"],
        [ID.replace("A", "+")],
        [bytes(32).hex()],
        [encode(bytes(31))],
        [encode(bytes(33))],
        [ID, MARK],
    ],
)
def test_ids_are_as_they_were_listed(ids: Any) -> None:
    refusal = refused(parse_ack, written({"ids": ids}))
    assert (refusal.code, refusal.member) == ("bad_request", "ids")


def test_an_acknowledgement_needs_ids() -> None:
    assert refused(parse_ack, b"{}").member == "ids"


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_settings_may_change_nothing(body: bytes) -> None:
    assert settings(body) == SettingsBody()


@pytest.mark.parametrize(
    ("members", "parsed"),
    [
        ({"retention": 3600}, SettingsBody(retention=3600)),
        ({"retention": 90 * DAY}, SettingsBody(retention=90 * DAY)),
        ({"accept": "names"}, SettingsBody(accept="names")),
        ({"accept": "anyone"}, SettingsBody(accept="anyone")),
        ({"accept": "contacts"}, SettingsBody(accept="contacts")),
        ({"accept": "nobody"}, SettingsBody(accept="nobody")),
        ({"contacts": []}, SettingsBody(contacts=())),
        ({"contacts": [ADDRESS] * 3}, SettingsBody(contacts=(ADDRESS,) * 3)),
        ({"blocked": [ADDRESS]}, SettingsBody(blocked=(ADDRESS,))),
        ({"names": []}, SettingsBody(names=())),
        ({"names": ["bob.id", "bob.id.blockstack"]}, SettingsBody(names=("bob.id", "bob.id.blockstack"))),
        ({"names": [f"{n}.id" for n in range(5)]}, SettingsBody(names=("0.id", "1.id", "2.id", "3.id", "4.id"))),
        ({"invite": "Az09_-"}, SettingsBody(invite="Az09_-")),
        ({"invite": "x" * 64}, SettingsBody(invite="x" * 64)),
        ({"accept": "nobody", "retention": 7200}, SettingsBody(retention=7200, accept="nobody")),
    ],
)
def test_settings_are_read(members: dict[str, Any], parsed: SettingsBody) -> None:
    assert settings(written(members)) == parsed


NOT_LISTS: list[Any] = [None, True, 1, ADDRESS, {ADDRESS: ADDRESS}, [None], [1], [[ADDRESS]]]
NOT_ADDRESSES = [
    BOB["btcTestnetAddress"],
    BOB["stacksMainnet"],
    BOB["publicKeyCompressed"],
    ADDRESS[:-1] + "6",
    "",
    MARK,
]
BAD_LISTS: list[Any] = [*NOT_LISTS, [ADDRESS] * 4, *([ADDRESS, wrong] for wrong in NOT_ADDRESSES)]
NOT_NAMES = [
    "",
    "bob",
    "Bob.id",
    "a.b.c.d",
    "bob.id ",
    "bob..id",
    ADDRESS,
    BOB["publicKeyCompressed"],
    f"{MARK}/.id",
    MARK,
]
BAD_SETTINGS: dict[str, list[Any]] = {
    "retention": [3599, 0, -1, 90 * DAY + 1, 10**30, None, True, "3600", MARK, [3600], {}],
    "accept": ["", "Names", "everyone", "all", MARK, None, True, 1, ["names"], {"names": 1}],
    "contacts": BAD_LISTS,
    "blocked": BAD_LISTS,
    "names": [*NOT_LISTS, [f"{n}.id" for n in range(6)], *(["bob.id", wrong] for wrong in NOT_NAMES)],
    "invite": ["", "x" * 65, "x y", "x\n", "x.y", "x=", "é", "x\0", None, True, 1, ["x"], {"x": MARK}],
}


@pytest.mark.parametrize(
    ("member", "value"), [(member, value) for member, each in BAD_SETTINGS.items() for value in each]
)
def test_a_setting_that_breaks_a_rule_is_refused_by_its_member(member: str, value: Any) -> None:
    good = {"retention": 3600, "accept": "names", "contacts": [], "blocked": [], "names": [], "invite": "x"}
    assert settings(written(good)) == SettingsBody(3600, "names", (), (), (), "x")
    refusal = refused(settings, written(good | {member: value}))
    assert (refusal.code, refusal.member) == ("bad_request", member)


def test_an_invite_that_is_no_text_is_refused() -> None:
    """Half a character cannot be written as UTF-8, so whoever hashes the code later would fail."""
    assert refused(settings, b'{"invite":"\\ud800"}').code == "bad_request"


def test_the_limits_of_settings_are_the_operators() -> None:
    body = written({"contacts": [ADDRESS], "retention": 3600})
    assert parse_settings(body, max_retention=3600, list_entries=1).contacts == (ADDRESS,)
    for max_retention, list_entries, member in ((3599, 1, "retention"), (3600, 0, "contacts")):
        with pytest.raises(Refused) as raised:
            parse_settings(body, max_retention=max_retention, list_entries=list_entries)
        assert raised.value.member == member


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ID, ADDRESS, "bob.id"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
MEMBERS = st.sampled_from(["message_id", "ttl", "ids", "retention", "accept", "contacts", "blocked", "names", "invite"])
BODIES = st.binary() | st.text().map(str.encode) | st.dictionaries(MEMBERS | st.text(), JSON, max_size=3).map(written)


def code_of(parse: Parse, body: bytes) -> str | None:
    try:
        parse(body)
    except Refused as refusal:
        return refusal.code
    return None


@given(BODIES)
def test_whatever_the_bytes_only_bad_request_is_raised(body: bytes) -> None:
    parsers: list[Parse] = [parse_delivery, parse_ack, settings]
    for parse in parsers:
        assert code_of(parse, body) in (None, "bad_request")


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=1024), st.none() | st.integers(10)
)
def test_every_printable_text_is_delivered_as_it_is(message_id: str, ttl: int | None) -> None:
    members = {"message_id": message_id} | ({} if ttl is None else {"ttl": ttl})
    assert parse_delivery(written(members)) == DeliveryBody(message_id, ttl)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_every_id_is_acknowledged_as_it_is(ids: list[bytes]) -> None:
    assert parse_ack(written({"ids": [encode(id) for id in ids]})) == tuple(ids)


def test_the_longest_message_id_fits_a_slot() -> None:
    assert MAX_MESSAGE_ID_CHARACTERS == TEXT_BYTES
