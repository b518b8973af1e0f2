"""That a delivery with a ticket tells the server nothing of its sender: not in any argument, row, file or request."""

import ast
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.config.file import parse_config
from inbox_server.http.app_keys import CONFIG, INBOX_SETTINGS, SHEETS
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inboxes import deliver_sealed, sheets, storing
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.receipts import Receipts
from inbox_server.inboxes.storing import Storing
from inbox_server.metrics import Metrics
from inbox_server.protocol import tickets
from inbox_server.protocol.base64url import decode, encode
from inbox_server.server import open_app
from inbox_server.store.contract import Store
from inbox_server.store.sqlite import admitting
from tests.conftest import HandClock
from tests.support.requests import SECRET, Caller, new_key
from tests.support.sealed import Contact, sheet_body

NAME = "alice.id"


class Heard:
    """Stands before the store, and keeps what every method of it is given."""

    def __init__(self, store: Store, told: list[Any]) -> None:
        self._store, self._told = store, told

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not callable(method):
            return method

        def heard(*given: Any, **named: Any) -> Any:
            self._told.append((name, given, named))
            return method(*given, **named)

        return heard


def forms(key: AppKey) -> list[bytes]:
    """Everything that a key and its name are written as."""
    raw = bytes.fromhex(key.public)
    return [*(text.encode() for text in (NAME, key.public, key.address, encode(raw))), raw, raw[1:]]


def every_bytes(what: Any) -> list[bytes]:
    """All bytes and texts within."""
    if isinstance(what, bytes):
        return [what]
    if isinstance(what, str):
        return [what.encode()]
    if isinstance(what, Mapping):
        return [each for pair in what.items() for part in pair for each in every_bytes(part)]
    if isinstance(what, tuple | list):
        return [each for part in what for each in every_bytes(part)]
    return every_bytes(asdict(what)) if is_dataclass(what) and not isinstance(what, type) else []


def found(told: list[Any], key: AppKey) -> list[bytes]:
    raw = b"\n".join(every_bytes(told))
    return [form for form in forms(key) if form in raw]


def contents(folder: Path) -> bytes:
    """Everything in the files of a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_neither_the_store_nor_a_delivery_with_a_ticket_is_told_who_sends(
    tmp_path: Path, clock: HandClock
) -> None:
    """All arguments are searched. The control: the recipient is found, and the sender of a token."""
    url = "http://127.0.0.1:8710"
    open_to_all = {"mode": "open", "open_to_keys": True}
    server = {"public_url": url, "data_dir": str(tmp_path / "data")}
    config = parse_config({"server": server, "registration": open_to_all}, tmp_path)
    async with open_app(config, SECRET, clock=clock) as (app, store), aiohttp.ClientSession() as session:
        bob, alice = Caller(session, url, new_key(), clock), new_key()
        await app[INBOX_SETTINGS].settle(f"Bearer {bob.owner_token('settings')}", b"", clock())
        sheet = sheet_body(bob, [alice])
        await app[SHEETS].keep(f"Bearer {bob.owner_token('settings', sheet)}", sheet, clock())

        told: list[Any] = []
        heard, hashes = cast(Store, Heard(store, told)), KeyedHash(SECRET)
        rates = RateLimits(clock, secrets.token_bytes)
        receipts = Receipts(SigningKey.from_seed(bytes(64)), origin=url, random_bytes=secrets.token_bytes)
        end = Storing(heard, app[CONFIG], Metrics(), lambda _inbox, _channels: None, receipts)
        sealed = SealedDeliveries(heard, hashes, rates, app[CONFIG], end)
        body = json.dumps({"message_id": "opaque", "to": bob.key.address}).encode()
        for number in range(3):
            authorization = f"InboxTicket {encode(Contact(alice, bob).ticket(number))}"
            told.append((authorization, body))
            await sealed.deliver(authorization, body, clock(), network=b"a network")
        assert {"ticket_policy", "deliver"} <= {str(each[0]) for each in told}
        assert found(told, alice) == []
        assert bob.key.address.encode() in b"".join(every_bytes(told))

        token = Caller(session, url, alice, clock).deliver_token(b'{"message_id":"x"}', alice.public, bob.key.address)
        signed = [json.loads(decode(token.split(".")[1]))]
        assert found(signed, alice) == [alice.public.encode()]
    assert [form for form in forms(alice) if form in contents(tmp_path)] == []


@pytest.mark.parametrize(
    "module", [deliver_sealed, storing, sheets, tickets, admitting], ids=lambda each: each.__name__
)
def test_what_takes_tickets_could_ask_nobody(module: Any) -> None:
    """No file on the way of a ticket imports what could look somebody up, or fetch anything."""
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert [name for name in imported if name.startswith(("inbox_server.resolver", "inbox_server.outgoing"))] == []
