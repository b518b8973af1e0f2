"""Makes tests/vectors/sealed.json: `python -m tests.support.sealed_vectors > tests/vectors/sealed.json`."""

import hashlib
import json
import sys
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.tickets import Sheet, id_of, ids_of, seed_of, ticket_of
from inbox_server.protocol.base64url import encode

_DESCRIPTION: Final = (
    "Tickets and sheets of sealed delivery (docs/protocol.md). `pairs`: what a sender and a recipient derive for"
    " one sheet; `tickets` and `ids` by their numbers. `sheets`: what an owner uploads; `sha256` is that of the joined"
    " ids, `first` and `last` are two of them. Keys are hex, all else base64url."
)
_SHEETS: Final = (
    Sheet("https://inbox.example", 2951, 1),
    Sheet("https://inbox.example", 2952, 1),
    Sheet("https://inbox.example", 2951, 1_796_000_000),
    Sheet("http://127.0.0.1:8710", 2951, 1),
)
_NUMBERS: Final = (0, 1, 31, 255)


def key(name: str) -> AppKey:
    """A key that anybody can make again."""
    return AppKey(hashlib.sha256(f"sealed vectors: {name}".encode()).digest())


def made() -> dict[str, Any]:
    keys = {name: key(name) for name in ("alice", "bob", "carol")}
    return {
        "description": _DESCRIPTION,
        "keys": {name: {"private": each.secret.hex(), "public": each.public} for name, each in keys.items()},
        "pairs": [
            _pair(keys, sender, recipient, sheet)
            for sender, recipient in (("alice", "bob"), ("bob", "alice"), ("carol", "bob"), ("bob", "bob"))
            for sheet in _SHEETS
        ],
        "sheets": [
            _sheet(keys["bob"], [key(f"contact {number}") for number in range(count)], sheet, per)
            for count, per in ((0, 32), (1, 32), (10, 32), (30, 32), (32, 32), (33, 32), (128, 32), (3, 1))
            for sheet in _SHEETS[:3]
        ],
    }


def _pair(keys: dict[str, AppKey], sender: str, recipient: str, sheet: Sheet) -> dict[str, Any]:
    shared = keys[sender].shared_x(bytes.fromhex(keys[recipient].public))
    seed = seed_of(shared, sender=keys[sender].public, recipient=keys[recipient].public, sheet=sheet)
    tickets = {str(number): ticket_of(seed, number) for number in _NUMBERS}
    return {
        "sender": sender,
        "recipient": recipient,
        **_members(sheet),
        "z": encode(shared),
        "seed": encode(seed),
        "tickets": {number: encode(ticket) for number, ticket in tickets.items()},
        "ids": {number: encode(id_of(ticket)) for number, ticket in tickets.items()},
    }


def _sheet(owner: AppKey, contacts: list[AppKey], sheet: Sheet, per: int) -> dict[str, Any]:
    ids = ids_of(owner, [each.public for each in contacts], sheet, per)
    return {
        "owner": "bob",
        "contacts": [each.public for each in contacts],
        "per": per,
        **_members(sheet),
        "count": len(ids) // 16,
        "first": encode(ids[:16]),
        "last": encode(ids[-16:]),
        "sha256": encode(hashlib.sha256(ids).digest()),
    }


def _members(sheet: Sheet) -> dict[str, Any]:
    return {"origin": sheet.origin, "week": sheet.week, "edition": sheet.edition}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(made(), indent=1) + "\n")
