"""What two people share without a word: links of pointers, paths and keys of indexes, as docs/protocol.md has them.

`python -m tests.client.test_pairs` writes tests/vectors/pairs.json anew. What is in it is computed here a second time,
from the words of the page alone.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import decrypt
from inbox_server.client.index import BadIndex, IndexEntry, IndexNotWhole, make_index, merge_entries, read_index
from inbox_server.client.pairs import Pair, short_hash, week_of
from inbox_server.client.tokens_and_cards import Pointer, is_of_pair, linked, pointer_text, read_pointer
from inbox_server.clock import UnixTime

FOLDER = Path(__file__).parent.parent / "vectors"
FILE = FOLDER / "pairs.json"
VECTORS: Any = json.loads(FILE.read_text(encoding="utf-8"))
_KEYS: Any = json.loads((FOLDER / "stacks.json").read_text(encoding="utf-8"))["keys"]
ALICE, BOB, MALLORY = (AppKey.from_hex(_KEYS[name]["privateKey"]) for name in ("aliceApp", "bobApp", "mallory"))
APP, URL, INBOX = "https://chat.example", f"https://hub.example/hub/{ALICE.address}/", "https://inbox.example"
WEEK = 2976
IV = bytes(range(16))
TO_BOB, FROM_ALICE = Pair.to(BOB.public, ALICE), Pair.of(ALICE.public, BOB)
DESCRIPTION = (
    "Pairs of the message inbox protocol, version 1 (docs/protocol.md, `The pair` and `The index`), for any"
    " implementation. Keys are hex, other bytes base64url without padding, `plain` with its padding. `pairs`: what is"
    " derived for a direction. `pointers`: one after the other of the first pair. `index`: a whole file of the first"
    " pair, with the IV 00 01 … 0f, so that its bytes are always the same but for the signature around them."
)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def entry_of(number: int, expires: int = 1_800_057_599) -> IndexEntry:
    receipt = {"token": "a.b.c", "salt": b64(bytes(16)), "path": [b64(bytes([level] * 32)) for level in range(9)]}
    receipts = {INBOX: {**receipt, "expires": 1_800_057_599}}
    hash = hashlib.sha256(bytes([number])).digest()
    return IndexEntry(number, hash.hex()[:32], b64(hash), UnixTime(expires), receipts)


ENTRIES = (entry_of(1), entry_of(2, 1_800_143_999))


def made() -> dict[str, Any]:
    """The content of the file."""
    envelope = json.loads(make_index(ALICE, TO_BOB, WEEK, ENTRIES, iv=IV))
    plain = decrypt(BOB, envelope["cipherText"])
    return {
        "description": DESCRIPTION,
        "keys": {"alice": ALICE.secret.hex(), "bob": BOB.secret.hex()},
        "pairs": [_pair(TO_BOB, ALICE, WEEK), _pair(Pair.to(ALICE.public, BOB), BOB, WEEK + 1)],
        "pointers": _pointers(),
        "index": {"week": WEEK, "plain": plain, "encrypted": envelope["cipherText"]},
    }


def _pair(pair: Pair, key: AppKey, week: int) -> dict[str, Any]:
    other = pair.recipient if key.public == pair.sender else pair.sender
    return {
        "from": pair.sender,
        "to": pair.recipient,
        "z": b64(key.shared_x(bytes.fromhex(other))),
        "pointer_key": b64(pair.derive(b"message-inbox-pointer")),
        "index_key": b64(pair.derive(b"message-inbox-index")),
        "week": week,
        "path": pair.index_path(week),
        "ephemeral_private": pair.index_ephemeral(week).secret.hex(),
        "ephemeral_public": pair.index_ephemeral(week).public,
    }


def _pointers() -> list[dict[str, Any]]:
    pointers, prev = [], bytes(16)
    for n, url in ((1, ""), (2, ""), (2**53 - 1, URL)):
        sender = ALICE.public if url else "alice.id"
        pointer = linked(Pointer(f"{n:032x}", sender, APP, url), TO_BOB, n, prev)
        plain = pointer_text(pointer)
        assert pointer.link
        pointers.append({"n": n, "prev": b64(prev), "id": pointer.id, "mac": b64(pointer.link.mac), "plain": plain})
        prev = short_hash(plain.encode())
    return pointers


def test_the_file_is_what_the_code_makes() -> None:
    assert made() == VECTORS


def hkdf(shared: bytes, info: bytes) -> bytes:
    """RFC 5869 with an empty salt, one block."""
    extracted = hmac.digest(bytes(32), shared, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("vector", VECTORS["pairs"], ids=["from Alice", "from Bob"])
def test_the_derived_keys_are_those_of_the_page(vector: Any) -> None:
    z, keys = decoded(vector["z"]), bytes.fromhex(vector["from"]) + bytes.fromhex(vector["to"])
    assert hkdf(z, b"message-inbox-pointer") == decoded(vector["pointer_key"])
    assert hkdf(z, b"message-inbox-index") == decoded(vector["index_key"])
    name = hmac.digest(decoded(vector["index_key"]), keys + vector["week"].to_bytes(8, "big"), "sha256")
    assert vector["path"] == f"index/{name.hex()}.json"
    assert hkdf(z, b"message-inbox-index-ephemeral" + name).hex() == vector["ephemeral_private"]


@pytest.mark.parametrize("vector", VECTORS["pointers"], ids=lambda vector: str(vector["n"]))
def test_a_pointer_s_link_is_that_of_the_page(vector: Any) -> None:
    keys = bytes.fromhex(VECTORS["pairs"][0]["from"] + VECTORS["pairs"][0]["to"])
    content = keys + vector["n"].to_bytes(8, "big") + decoded(vector["prev"]) + vector["id"].encode()
    mac = hmac.digest(decoded(VECTORS["pairs"][0]["pointer_key"]), content, "sha256")[:16]
    members = json.loads(vector["plain"])
    assert (members["n"], members["prev"], members["mac"]) == (vector["n"], vector["prev"], b64(mac))
    assert len(vector["plain"]) == 415


def test_each_pointer_names_the_one_before() -> None:
    first, second, _ = VECTORS["pointers"]
    assert decoded(first["prev"]) == bytes(16)
    assert decoded(second["prev"]) == hashlib.sha256(first["plain"].encode()).digest()[:16]


def test_both_sides_see_who_made_a_pointer_and_nobody_else_does() -> None:
    pointer = linked(Pointer("0" * 32, "alice.id", APP), TO_BOB, 7, bytes(16))
    read = read_pointer(pointer_text(pointer))
    assert read == pointer
    assert is_of_pair(read, FROM_ALICE)
    assert is_of_pair(replace(read, link=None), FROM_ALICE)  # an older client's
    assert read.link
    for changed in (
        replace(read, id="1" * 32),
        replace(read, link=replace(read.link, n=8)),
        replace(read, link=replace(read.link, prev=b"\1" + bytes(15))),
        replace(read, link=replace(read.link, mac=bytes(16))),
        linked(pointer, Pair.to(BOB.public, MALLORY), 7, bytes(16)),
        linked(pointer, Pair.to(ALICE.public, BOB), 7, bytes(16)),  # the other direction
    ):
        assert not is_of_pair(changed, FROM_ALICE)


SHORT = b64(bytes(16))


@pytest.mark.parametrize(
    "link",
    [
        {"n": 1},
        {"prev": SHORT, "mac": SHORT},
        {"n": 0, "prev": SHORT, "mac": SHORT},
        {"n": True, "prev": SHORT, "mac": SHORT},
        {"n": "1", "prev": SHORT, "mac": SHORT},
        {"n": 2**53, "prev": SHORT, "mac": SHORT},
        {"n": 1, "prev": SHORT[1:], "mac": SHORT},
        {"n": 1, "prev": SHORT, "mac": SHORT + "AA"},
        {"n": 1, "prev": SHORT, "mac": 5},
    ],
)
def test_a_pointer_with_a_part_of_a_link_is_none(link: Any) -> None:
    members = {"v": 1, "id": "0" * 32, "from": "alice.id", "app": APP}
    assert read_pointer(json.dumps(members)).link is None
    with pytest.raises(ValueError):  # noqa: PT011 — as every text that is no pointer
        read_pointer(json.dumps(members | link))


def test_the_index_is_read_by_both_and_by_nobody_else() -> None:
    file = make_index(ALICE, TO_BOB, WEEK, ENTRIES, iv=IV)
    assert read_index(file, FROM_ALICE, WEEK, BOB) == ENTRIES
    assert read_index(file, TO_BOB, WEEK, ALICE) == ENTRIES
    with pytest.raises(BadIndex):
        read_index(file, Pair.of(ALICE.public, MALLORY), WEEK, MALLORY)
    with pytest.raises(BadIndex, match="week"):
        read_index(file, FROM_ALICE, WEEK + 1, BOB)
    with pytest.raises(BadIndex, match="signed"):
        read_index(make_index(MALLORY, TO_BOB, WEEK, ENTRIES, iv=IV), FROM_ALICE, WEEK, BOB)
    assert len(json.loads(VECTORS["index"]["encrypted"])) == 6
    assert len(VECTORS["index"]["plain"]) % 4096 == 0


def test_an_index_that_is_being_written_is_not_a_bad_one() -> None:
    file = make_index(ALICE, TO_BOB, WEEK, ENTRIES, iv=IV)
    for length in (0, 1, len(file) // 2, len(file) - 1):
        with pytest.raises(IndexNotWhole):
            read_index(file[:length], FROM_ALICE, WEEK, BOB)


def test_two_devices_entries_are_merged_and_no_receipt_is_lost() -> None:
    here, there = entry_of(3), replace(entry_of(3, 9), receipts={"https://other.example": {"expires": 9}})
    (merged,) = merge_entries([here], [there])
    assert merged.expires == here.expires
    assert merged.receipts.keys() == {INBOX, "https://other.example"}
    assert [entry.n for entry in merge_entries([entry_of(2), entry_of(1)], [entry_of(3)])] == [1, 2, 3]


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_the_file_only_bad_index_is_raised(content: bytes) -> None:
    with pytest.raises(BadIndex):
        read_index(content, FROM_ALICE, WEEK, BOB)


def test_a_week_begins_on_the_same_second_everywhere() -> None:
    assert (week_of(UnixTime(604_799)), week_of(UnixTime(604_800))) == (0, 1)


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
