"""Tickets and sheets: what both sides derive, also in other languages, and what a sheet does not show."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.client.tickets import (
    ID_BYTES,
    LEAST_IDS,
    MOST_IDS,
    PER,
    Sheet,
    TooManyContacts,
    id_of,
    ids_of,
    seed_of,
    ticket_of,
    week_of,
)
from inbox_server.clock import UnixTime
from inbox_server.protocol.base64url import decode, encode
from tests.support.sealed_vectors import key, made

FOLDER = Path(__file__).parent.parent / "vectors"
FILES = sorted(FOLDER.glob("sealed*.json"))  # one was made here, others by other languages
SETS: list[Any] = [json.loads(file.read_text()) for file in FILES]
PAIRS = [(vectors["keys"], pair) for vectors in SETS for pair in vectors["pairs"]]
SHEETS = [(vectors["keys"], sheet) for vectors in SETS for sheet in vectors["sheets"]]
BOB = key("bob")
SHEET = Sheet("https://inbox.example", 2951, 7)


def contacts(count: int, of: str = "contact") -> list[str]:
    return [key(f"{of} {number}").public for number in range(count)]


def split(ids: bytes) -> list[bytes]:
    return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]


def sheet_of(members: dict[str, Any]) -> Sheet:
    return Sheet(members["origin"], members["week"], members["edition"])


def test_the_file_is_made_again() -> None:
    assert json.dumps(made(), indent=1) + "\n" == (FOLDER / "sealed.json").read_text()


@pytest.mark.parametrize(("keys", "pair"), PAIRS)
def test_both_sides_derive_what_a_vector_says(keys: dict[str, Any], pair: dict[str, Any]) -> None:
    private = {name: AppKey.from_hex(each["private"]) for name, each in keys.items()}
    public = {name: each["public"] for name, each in keys.items()}
    sender, recipient = pair["sender"], pair["recipient"]
    for own, other in ((sender, recipient), (recipient, sender)):
        shared = private[own].shared_x(bytes.fromhex(public[other]))
        seed = seed_of(shared, sender=public[sender], recipient=public[recipient], sheet=sheet_of(pair))
        tickets = {number: ticket_of(seed, int(number)) for number in pair["tickets"]}
        assert (encode(shared), encode(seed)) == (pair["z"], pair["seed"])
        assert {number: encode(ticket) for number, ticket in tickets.items()} == pair["tickets"]
        assert {number: encode(id_of(ticket)) for number, ticket in tickets.items()} == pair["ids"]


@pytest.mark.parametrize(("keys", "pair"), PAIRS)
def test_a_vector_is_what_the_page_says(keys: dict[str, Any], pair: dict[str, Any]) -> None:
    """The formulas of docs/protocol.md, written out."""
    lines = ["message-inbox-ticket", keys[pair["sender"]]["public"], keys[pair["recipient"]]["public"]]
    lines += [pair["origin"], str(pair["week"]), str(pair["edition"])]
    extracted = hmac.digest(bytes(32), decode(pair["z"]), "sha256")
    seed = hmac.digest(extracted, "\n".join(lines).encode() + b"\x01", "sha256")
    assert encode(seed) == pair["seed"]
    for number, ticket in pair["tickets"].items():
        assert encode(hmac.digest(seed, int(number).to_bytes(8, "big"), "sha256")) == ticket
        id = hashlib.sha256(b"message-inbox-ticket-id" + decode(ticket)).digest()[:16]
        assert encode(id) == pair["ids"][number]


@pytest.mark.parametrize(("keys", "sheet"), SHEETS)
def test_a_sheet_is_what_a_vector_says(keys: dict[str, Any], sheet: dict[str, Any]) -> None:
    owner = AppKey.from_hex(keys[sheet["owner"]]["private"])
    ids = ids_of(owner, sheet["contacts"], sheet_of(sheet), sheet["per"])
    assert len(ids) == sheet["count"] * ID_BYTES
    assert (encode(ids[:ID_BYTES]), encode(ids[-ID_BYTES:])) == (sheet["first"], sheet["last"])
    assert encode(hashlib.sha256(ids).digest()) == sheet["sha256"]


def test_a_ticket_is_good_for_one_direction_server_week_and_edition_only() -> None:
    alice, shared = key("alice").public, BOB.shared_x(bytes.fromhex(key("alice").public))
    seeds = [
        seed_of(shared, sender=alice, recipient=BOB.public, sheet=SHEET),
        seed_of(shared, sender=BOB.public, recipient=alice, sheet=SHEET),
        *(
            seed_of(shared, sender=alice, recipient=BOB.public, sheet=sheet)
            for sheet in (
                Sheet("https://other.example", 2951, 7),
                Sheet("https://inbox.example", 2952, 7),
                Sheet("https://inbox.example", 2951, 8),
            )
        ),
    ]
    assert len(set(seeds)) == len(seeds)


@given(count=st.integers(0, 40), extra=st.integers(0, 3))
def test_the_same_contacts_make_the_same_bytes_in_whatever_order(count: int, extra: int) -> None:
    known = contacts(count)
    ids = ids_of(BOB, known, SHEET, PER)
    assert ids_of(BOB, [*reversed(known), *known[:extra]], SHEET, PER) == ids
    assert split(ids) == sorted(set(split(ids)))


@pytest.mark.parametrize(
    ("count", "expected"), [(0, 1024), (10, 1024), (30, 1024), (32, 1024), (33, 2048), (64, 2048), (65, 4096)]
)
def test_a_sheet_shows_only_the_next_power_of_two(count: int, expected: int) -> None:
    assert len(ids_of(BOB, contacts(count), SHEET, PER)) == expected * ID_BYTES


def test_too_many_contacts_are_refused_in_words() -> None:
    assert len(ids_of(BOB, contacts(MOST_IDS // PER), SHEET, PER)) == MOST_IDS * ID_BYTES
    with pytest.raises(TooManyContacts, match="129 contacts with 32 tickets each: a sheet has at most 4096"):
        ids_of(BOB, contacts(MOST_IDS // PER + 1), SHEET, PER)


def test_a_sheet_holds_every_contacts_tickets_and_dummies_that_nobody_else_can_make() -> None:
    known = [key(f"contact {number}") for number in range(3)]
    ids = set(split(ids_of(BOB, [each.public for each in known], SHEET, PER)))
    theirs = set()
    for each in known:
        shared = each.shared_x(bytes.fromhex(BOB.public))
        seed = seed_of(shared, sender=each.public, recipient=BOB.public, sheet=SHEET)
        theirs |= {id_of(ticket_of(seed, number)) for number in range(PER)}
    assert len(theirs) == 3 * PER
    assert theirs < ids
    others = set(split(ids_of(key("carol"), [each.public for each in known], SHEET, PER)))
    assert not ids & others


def test_the_place_of_a_contacts_ticket_in_the_sheet_is_anywhere() -> None:
    """Over 1,000 sheets, in four equal parts of the sheet: chi-squared, 3 degrees of freedom, one in a million."""
    alice = key("alice")
    shared, parts = alice.shared_x(bytes.fromhex(BOB.public)), [0] * 4
    others = contacts(3)
    for week in range(1000):
        sheet = Sheet(SHEET.origin, week, 0)
        id = id_of(ticket_of(seed_of(shared, sender=alice.public, recipient=BOB.public, sheet=sheet), 0))
        parts[split(ids_of(BOB, [alice.public, *others], sheet, 4)).index(id) * 4 // LEAST_IDS] += 1
    assert sum((count - 250) ** 2 / 250 for count in parts) < 30.7


def test_another_edition_shares_no_id_with_the_one_before() -> None:
    """So nobody who compares two sheets of one week can tell which ids are those of a new contact."""
    before = ids_of(BOB, contacts(3), SHEET, PER)
    after = ids_of(BOB, contacts(4), Sheet(SHEET.origin, SHEET.week, SHEET.edition + 1), PER)
    assert not set(split(before)) & set(split(after))
    assert len(before) == len(after)


def test_a_week_begins_on_a_thursday() -> None:
    assert week_of(UnixTime(1_785_369_600 - 1)) + 1 == week_of(UnixTime(1_785_369_600)) == 2952
