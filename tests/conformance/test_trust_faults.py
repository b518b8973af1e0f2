"""The suite finds servers that lie about receipts and the log: this server, with one part in place of another."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from inbox_server.clock import UnixTime, system_clock
from inbox_server.config.file import parse_config
from inbox_server.errors import Refused
from inbox_server.http.app_keys import DELIVERIES, LOGS
from inbox_server.http.listening import listening
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import LogPoint
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.log import Logs
from inbox_server.inboxes.storing import Taken
from inbox_server.protocol.receipts import RECEIPT_TYPE, Receipt
from inbox_server.protocol.signed import read_signed, write_signed
from inbox_server.server import open_app
from inbox_server.store.contract import LogPage, Store
from inbox_server.world.local_world import free_socket
from tests.support.conformance import report_on, said
from tests.support.requests import SECRET

pytestmark = pytest.mark.timeout(120, func_only=True)

KEY: Final = SigningKey.from_seed(KeyedHash(SECRET).receipt_seed())
Lie = Callable[[web.Application, Store, str], None]


class LyingStore:
    """Shows a page of a log as `lie` makes it; None stands for no inbox."""

    def __init__(self, store: Store, lie: Callable[[LogPage | None], LogPage]) -> None:
        self._store = store
        self._lie = lie

    async def log(self, inbox: bytes, *, after: int, limit: int, now: UnixTime) -> LogPage:
        try:
            return self._lie(await self._store.log(inbox, after=after, limit=limit, now=now))
        except Refused:
            return self._lie(None)


class LyingDeliveries:
    """Gives receipts as `lie` makes them."""

    draining = False

    def __init__(self, deliveries: Deliveries, lie: Callable[[Receipt], Receipt]) -> None:
        self._deliveries = deliveries
        self._lie = lie

    async def deliver(self, authorization: str | None, body: bytes, now: UnixTime, *, network: bytes | None) -> Taken:
        taken = await self._deliveries.deliver(authorization, body, now, network=network)
        return replace(taken, receipt=self._lie(taken.receipt)) if taken.receipt else taken


class OtherNonce(Logs):
    def _signed(self, page: LogPage, address: str, nonce: str, now: UnixTime) -> str:
        return super()._signed(page, address, nonce[::-1].replace("A", "B"), now)


def log_shown(lie: Callable[[LogPage | None], LogPage], kind: type[Logs] = Logs) -> Lie:
    def put(app: web.Application, store: Store, url: str) -> None:
        app[LOGS] = kind(LyingStore(store, lie), KeyedHash(SECRET), KEY, origin=url)  # type: ignore[arg-type]

    return put


def receipts_given(lie: Callable[[Receipt], Receipt]) -> Lie:
    def put(app: web.Application, _: Store, url: str) -> None:
        app[DELIVERIES] = LyingDeliveries(app[DELIVERIES], lie)  # type: ignore[misc]

    return put


def signed_again(receipt: Receipt, *, key: SigningKey = KEY, days: int = 0) -> Receipt:
    claims = read_signed(receipt.token, KEY.public, RECEIPT_TYPE)
    return replace(receipt, token=write_signed(key.sign, claims | {"day": claims["day"] + days}, RECEIPT_TYPE))


def of(page: LogPage | None) -> LogPage:
    if page is None:
        raise Refused("no_inbox", "There is none.")
    return page


EMPTY: Final = LogPage(LogPoint(1, bytes(32)), (), LogPoint(1, bytes(32)), more=False)


@dataclass(frozen=True, slots=True)
class Fault:
    says: str
    case: str
    lie: Lie


FAULTS: Final = (
    Fault(
        "signs receipts with another key",
        "trust/a-delivery-that-asks-gets-a-receipt-that-holds",
        receipts_given(lambda receipt: signed_again(receipt, key=SigningKey(b"\x01" * 32))),
    ),
    Fault(
        "gives paths that lead to another root",
        "trust/a-delivery-that-asks-gets-a-receipt-that-holds",
        receipts_given(lambda receipt: replace(receipt, path=receipt.path[::-1])),
    ),
    Fault(
        "gives shorter paths when few deliver",
        "trust/a-delivery-that-asks-gets-a-receipt-that-holds",
        receipts_given(lambda receipt: replace(receipt, path=receipt.path[:3])),
    ),
    Fault(
        "gives repeats a receipt of an earlier day",
        "trust/a-repeat-gets-a-receipt-whether-it-was-read-or-not",
        receipts_given(lambda receipt: signed_again(receipt, days=-2)),
    ),
    Fault(
        "leaves the last entry out of the log",
        "trust/what-lives-for-days-is-logged-once",
        log_shown(lambda page: replace(of(page), entries=of(page).entries[:-1])),
    ),
    Fault(
        "shows a log in which nothing was delivered",
        "trust/what-lives-for-days-is-logged-once",
        log_shown(lambda page: replace(of(page), entries=(), head=of(page).base, more=False)),
    ),
    Fault(
        "changes an id in the log",
        "trust/pages-of-a-log-follow-on",
        log_shown(
            lambda page: replace(of(page), entries=tuple(each._replace(id=bytes(32)) for each in of(page).entries))
        ),
    ),
    Fault(
        "says at the first page that the log ends there",
        "trust/pages-of-a-log-follow-on",
        log_shown(lambda page: replace(of(page), more=False)),
    ),
    Fault(
        "signs an old answer's nonce", "trust/base-and-head-are-signed-with-the-nonce", log_shown(of, kind=OtherNonce)
    ),
    Fault(
        "shows a log to who has no inbox",
        "trust/a-log-is-shown-to-its-owner-only",
        log_shown(lambda page: page or EMPTY),
    ),
)


async def failed_at(folder: Path, lie: Lie, *cases: str) -> dict[str, str]:
    with free_socket() as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        document = {
            "server": {"public_url": url, "data_dir": str(folder / "data"), "admin_listen": ""},
            "names": {"services": []},
            "registration": {"mode": "open", "open_to_keys": True, "open_per_hour": 1000},
        }
        opening = open_app(parse_config(document, folder), SECRET, clock=system_clock)
        async with opening as (app, store):
            lie(app, store, url)
            async with listening(app, bound):
                return said(await report_on(url, *cases))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.says)
async def test_a_server_that_lies_is_found(fault: Fault, tmp_path: Path) -> None:
    assert fault.case in await failed_at(tmp_path, fault.lie, fault.case)


async def test_a_server_that_does_not_lie_is_not_accused(tmp_path: Path) -> None:
    assert await failed_at(tmp_path, lambda _app, _store, _url: None, *sorted({fault.case for fault in FAULTS})) == {}
