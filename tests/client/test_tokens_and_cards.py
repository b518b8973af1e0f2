"""What a client signs and reads: tokens the server takes, cards only the bucket's key can make, pointers."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import (
    CARD_FILE,
    KEY_FILE,
    BadCard,
    Card,
    Pointer,
    deliver_token,
    make_card,
    owner_token,
    read_card,
    read_pointer,
)
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import parse_key
from inbox_server.identity.names import Address, Name
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.tokens import Scope, read_deliver_token, read_owner_token

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
ALICE, BOB, MALLORY = (AppKey.from_hex(KEYS[name]["privateKey"]) for name in ("aliceApp", "bobApp", "mallory"))
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NOW = UnixTime(1_800_000_000)
APP, INBOX = "https://chat.example", "https://inbox.example"
BODY = b'{"message_id":"opaque"}'
LEFT_OUT = object()


@pytest.mark.parametrize("sender", ["alice.id", ALICE.public])
@pytest.mark.parametrize(("recipient", "parsed"), [("bob.id", Name("bob.id")), (BOB.address, Address(BOB.address))])
def test_the_server_takes_a_clients_deliver_token(sender: str, recipient: str, parsed: object) -> None:
    token = deliver_token(ALICE, BODY, sender=sender, recipient=recipient, app=APP, inbox=INBOX, now=NOW)
    read = read_deliver_token(f"Bearer {token}", BODY, audience=INBOX, now=NOW)
    read.check_signature(parse_key(ALICE.public))
    assert (read.recipient, read.app, read.issued) == (parsed, APP, NOW)
    assert (read.sender, read.key) == (
        (Name("alice.id"), parse_key(ALICE.public)) if sender == "alice.id" else (parse_key(ALICE.public), None)
    )


def test_a_client_signs_with_a_low_s_and_as_jsontokens_orders_its_header() -> None:
    for number in range(60):  # half of them would be high by chance
        header, _, signature = ALICE.token({"number": number}, "x").split(".")
        assert int.from_bytes(decode(signature)[32:], "big") <= N // 2
        assert len(decode(signature)) == 64
        assert decode(header) == b'{"typ":"x","alg":"ES256K"}'


@pytest.mark.parametrize("scope", ["read", "ack", "settings"])
def test_the_server_takes_a_clients_owner_token(scope: Scope) -> None:
    seconds = 3600 if scope == "read" else 300
    token = owner_token(BOB, scope=scope, app=APP, inbox=INBOX, now=NOW, body=BODY, seconds=seconds)
    read = read_owner_token(f"Bearer {token}", BODY, scope=scope, audience=INBOX, now=NOW)
    assert (read.key.address, read.app, read.issued, read.expires) == (BOB.address, APP, NOW, NOW + seconds)


def test_the_files_in_a_bucket_have_the_names_of_the_protocol() -> None:
    assert (CARD_FILE, KEY_FILE) == ("inbox.json", "key.json")


def card(key: AppKey = BOB, *, typ: Any = "inbox-card+jwt", **changes: Any) -> bytes:
    """A card of Bob's with some claims changed; a change to `LEFT_OUT` drops the claim."""
    claims = {"iss": key.public, "inboxes": [INBOX], "seq": 7, "iat": NOW, "exp": NOW + 400 * DAY_SECONDS} | changes
    token = key.token({name: value for name, value in claims.items() if value is not LEFT_OUT}, typ)
    return json.dumps({"card": token}).encode()


def refused(body: bytes, *, now: int = NOW, address: str = BOB.address) -> str:
    with pytest.raises(BadCard) as raised:
        read_card(body, address=address, now=UnixTime(now))
    return str(raised.value)


@pytest.mark.parametrize(
    "inboxes", [(INBOX,), (INBOX, "https://b.example:8443"), ("http://127.0.0.1:8710", INBOX, "https://c.example")]
)
@pytest.mark.parametrize("seq", [0, 1, 2**60])
def test_a_card_is_read_as_it_was_made(inboxes: tuple[str, ...], seq: int) -> None:
    body = make_card(BOB, inboxes, seq=seq, now=NOW)
    assert read_card(body, address=BOB.address, now=NOW) == Card(inboxes, seq)


def test_a_card_holds_for_400_days_and_from_five_minutes_before() -> None:
    body = make_card(BOB, (INBOX,), seq=1, now=NOW)
    for now in (NOW - 300, NOW, NOW + 400 * DAY_SECONDS - 1):
        assert read_card(body, address=BOB.address, now=UnixTime(now)).seq == 1
    for now in (NOW - 301, NOW + 400 * DAY_SECONDS, NOW + 10**9):
        assert "expired" in refused(body, now=now)


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW + 400 * DAY_SECONDS + 1, 10**30])
def test_a_card_that_has_expired_or_never_does_is_refused(exp: int) -> None:
    why = refused(card(exp=exp))
    assert "expired" in why or "more than 400 days" in why


def test_a_card_by_another_key_is_refused_whatever_it_says() -> None:
    assert "this bucket" in refused(card(MALLORY))
    assert "this bucket" in refused(card(MALLORY, iss=BOB.public))
    assert "this bucket" in refused(card(BOB, iss=MALLORY.public))
    assert "this bucket" in refused(card(), address=MALLORY.address)
    assert "this bucket" in refused(card(), address="")


def test_a_card_whose_signature_was_changed_is_refused_and_either_half_of_s_holds() -> None:
    message, _, signature = json.loads(card())["card"].rpartition(".")
    r, s = decode(signature)[:32], int.from_bytes(decode(signature)[32:], "big")
    for half in (s, N - s):
        whole = json.dumps({"card": f"{message}.{encode(r + half.to_bytes(32, 'big'))}"}).encode()
        assert read_card(whole, address=BOB.address, now=NOW) == Card((INBOX,), 7)
    for wrong in (b"", bytes(64), r + bytes(32), r, BOB.sign(message.encode()), r + (s ^ 1).to_bytes(32, "big")):
        assert "this bucket" in refused(json.dumps({"card": f"{message}.{encode(wrong)}"}).encode())
    other = encode(json.dumps({"iss": BOB.public, "inboxes": ["https://mallory.example"], "seq": 8}).encode())
    refused(json.dumps({"card": f"{message.partition('.')[0]}.{other}.{signature}"}).encode())


@pytest.mark.parametrize("typ", ["JWT", "inbox-owner+jwt", "inbox-deliver+jwt", "", "INBOX-CARD+JWT"])
def test_a_token_of_another_type_is_no_card(typ: str) -> None:
    assert "not an inbox card" in refused(card(typ=typ))


def test_no_other_algorithm_makes_a_card() -> None:
    claims = {"iss": BOB.public, "inboxes": [INBOX], "seq": 7, "iat": NOW, "exp": NOW + 60}
    secret, headers = bytes.fromhex(BOB.public), {"typ": "inbox-card+jwt"}
    hs256 = jwt.encode(claims, secret, algorithm="HS256", headers=headers)
    unsigned = jwt.encode(claims, "", algorithm="none", headers=headers)
    for token in (hs256, unsigned, json.loads(card())["card"].rpartition(".")[0] + "."):
        refused(json.dumps({"card": token}).encode())


@pytest.mark.parametrize(
    "inboxes",
    [
        LEFT_OUT,
        None,
        [],
        {},
        INBOX,
        {INBOX: INBOX},
        [f"https://{n}.example" for n in range(4)],
        [None],
        [1],
        [[INBOX]],
        [INBOX, None],
        [INBOX + "/"],
        [INBOX + "/v1"],
        [INBOX, "inbox.example"],
        ["HTTPS://inbox.example"],
        ["https://user@inbox.example"],
        ["https://inbox.example?x"],
        ["ftp://inbox.example"],
        ["javascript:x"],
        ["file:///etc"],
        ["https://inbox.example:99999"],
        [""],
    ],
)
def test_a_card_names_one_to_three_origins(inboxes: Any) -> None:
    refused(card(inboxes=inboxes))


@pytest.mark.parametrize("member", ["seq", "iat", "exp"])
@pytest.mark.parametrize("number", [LEFT_OUT, None, True, "7", 7.0, 1e30, [7], {}])
def test_a_cards_numbers_are_integers(member: str, number: Any) -> None:
    refused(card(**{member: number}))


def test_a_card_pins_the_key_of_each_inbox_s_receipts() -> None:
    inboxes, keys = (INBOX, "https://b.example"), (ALICE.public, None)
    read = read_card(make_card(BOB, inboxes, seq=1, now=NOW, receipt_keys=keys), address=BOB.address, now=NOW)
    assert read == Card(inboxes, 1, receipt_keys=keys)
    assert [read.receipt_key(url) for url in (*inboxes, "https://c.example")] == [ALICE.public, None, None]
    assert make_card(BOB, inboxes, seq=1, now=NOW, receipt_keys=(None, None)) == make_card(BOB, inboxes, seq=1, now=NOW)
    assert read_card(card(), address=BOB.address, now=NOW).receipt_key(INBOX) is None


@pytest.mark.parametrize(
    "keys", [None, [], {}, "x", 1, [ALICE.public, None], [[ALICE.public]], [5], [""], [ALICE.public.upper()], ["02"]]
)
def test_a_card_with_receipt_keys_that_are_none_is_bad(keys: Any) -> None:
    assert "receipt key" in refused(card(receipt_keys=keys))


TOKEN = json.loads(card())["card"]
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        TOKEN.encode(),
        json.dumps([TOKEN]).encode(),
        json.dumps(TOKEN).encode(),
        b'{"card":null}',
        b'{"card":5}',
        b'{"card":{}}',
        b'{"card":[]}',
        b'{"card":"x"}',
        b'{"card":".."}',
        b'{"card":"\\ud800"}',
        b'{"card":1.5}',
        f'{{"card":"{TOKEN}","card":"{TOKEN}"}}'.encode(),
        f'{{"card":"{TOKEN}."}}'.encode(),
        f'{{"card":" {TOKEN}"}}'.encode(),
        f'{{"card":"{TOKEN}="}}'.encode(),
        f'{{"card":"{HEADER}.{PAYLOAD}"}}'.encode(),
        f'{{"card":"{HEADER}.W10.{SIGNATURE}"}}'.encode(),
        f'{{"card":"{HEADER}.{encode(b"[" * 100_000)}.{SIGNATURE}"}}'.encode(),
        f'{{"card":"{encode(b"{}")}.{PAYLOAD}.{SIGNATURE}"}}'.encode(),
        f'{{"card":"é.{PAYLOAD}.{SIGNATURE}"}}'.encode(),
        b'{"card":' * 100_000,
        *(
            card(iss=iss)
            for iss in (LEFT_OUT, "", "bob.id", BOB.public.upper(), KEYS["bobApp"]["publicKeyUncompressed"])
        ),
        *(f'{{"card":"{HEADER}.{encode(raw)}.x"}}'.encode() for raw in (b'{"iss":5}', b'{"iss":[]}', b'{"iss":null}')),
    ],
)
def test_what_is_no_card_is_refused(body: bytes) -> None:
    refused(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(INBOX), st.lists, max_leaves=4
)
CLAIMS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["inboxes", "seq", "iat", "exp", "aud"]), JSON, max_size=3
)


@given(st.binary() | st.text().map(str.encode) | CLAIMS.map(lambda claims: card(**claims)))
def test_whatever_the_card_only_bad_card_is_raised(body: bytes) -> None:
    with contextlib.suppress(BadCard):
        assert len(read_card(body, address=BOB.address, now=NOW).inboxes) in (1, 2, 3)


def pointer(**changes: Any) -> str:
    made = {"v": 1, "id": "0123456789abcdef" * 2, "from": "alice.id", "app": APP} | changes
    return json.dumps({name: value for name, value in made.items() if value is not LEFT_OUT})


@pytest.mark.parametrize("sender", ["alice.id", "alice.id.blockstack", ALICE.public])
def test_a_pointer_names_the_message_its_sender_and_the_app(sender: str) -> None:
    expected = Pointer("0123456789abcdef" * 2, sender, APP)
    assert read_pointer(pointer(**{"from": sender})) == expected
    assert read_pointer(pointer(**{"from": sender}).ljust(415).encode()) == expected
    url = "https://gaia.example/hub/x/"
    by_key = replace(expected, url=url) if sender == ALICE.public else expected  # to a name its profile leads
    assert read_pointer(pointer(**{"from": sender}, url=url, more=[1])) == by_key


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "x",
        "[]",
        "null",
        "5",
        '"x"',
        "{}",
        b"\xff",
        *(pointer(v=v) for v in (LEFT_OUT, None, 0, 2, "1", [1])),
        *(
            pointer(id=id)
            for id in (LEFT_OUT, None, 5, [], "", "0" * 31, "0" * 33, "F" * 32, "g" * 32, "0" * 32 + "\n")
        ),
        *(pointer(id=id) for id in ("../" + "0" * 29, "0" * 31 + "/", "0" * 31 + "٠", "%" * 32)),
        *(pointer(**{"from": sender}) for sender in (LEFT_OUT, None, 5, [], {}, True)),
        *(pointer(app=app) for app in (LEFT_OUT, None, 5, [], {}, True, "", "chat.example", APP + "/", APP + "/x")),
    ],
)
def test_what_is_no_pointer_is_refused(plain: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_pointer(plain)


def test_a_version_that_is_true_is_not_version_1() -> None:
    with pytest.raises(ValueError, match="version 1"):
        read_pointer(pointer(v=True))


def test_a_deeply_nested_pointer_is_refused_like_any_other() -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_pointer("[" * 100_000)


@pytest.mark.parametrize(
    "sender",
    ["", "alice", "alice.id/", "alice.id?1", "alice.id#", "Alice.id", "alice%2eid", "../../v2/info", ALICE.address],
)
def test_a_sender_that_is_no_name_and_no_key_is_refused(sender: str) -> None:
    """It goes into the URL of a look-up, and one sender under two names would let a repeat in."""
    with pytest.raises(ValueError, match=r".*"):
        read_pointer(pointer(**{"from": sender}))


@given(
    st.text()
    | st.binary()
    | st.dictionaries(st.sampled_from(["v", "id", "from", "app"]), JSON | st.just(1)).map(json.dumps)
)
def test_whatever_was_decrypted_only_value_error_is_raised(plain: str | bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(read_pointer(plain).id) == 32
