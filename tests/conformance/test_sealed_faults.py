"""Servers that do one thing wrong with tickets: the suite must find each by the case that is for it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest

from inbox_server.clock import UnixTime, system_clock
from inbox_server.config.file import parse_config
from inbox_server.errors import Refused
from inbox_server.http.app_keys import CONFIG, SEALED_DELIVERIES
from inbox_server.http.listening import listening
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.receipts import Receipts
from inbox_server.inboxes.storing import Storing, Taken
from inbox_server.metrics import Metrics
from inbox_server.server import open_app
from inbox_server.store.contract import Delivered, Policy, Store, Ticket
from inbox_server.world.local_world import free_socket
from tests.support.conformance import report_on, said
from tests.support.requests import SECRET

pytestmark = pytest.mark.timeout(120, func_only=True)


class Faulty:
    """The store, as it is."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class TakesTicketsAgain(Faulty):
    async def deliver(self, *given: Any, ticket: Ticket, **named: Any) -> Delivered:
        return await self.store.deliver(*given, **named)


class TakesNextWeeks(Faulty):
    """As a server does that looks into every sheet of the inbox."""

    def _later(self, ticket: Ticket) -> Ticket:
        return ticket._replace(weeks=(*ticket.weeks, ticket.weeks[-1] + 1))

    async def ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        return await self.store.ticket_policy(inbox, self._later(ticket))

    def known_ticket_policy(self, inbox: bytes, ticket: Ticket) -> Policy | None:
        return self.store.known_ticket_policy(inbox, self._later(ticket))

    async def deliver(self, *given: Any, ticket: Ticket, **named: Any) -> Delivered:
        return await self.store.deliver(*given, ticket=self._later(ticket), **named)


class CountsRepeatsForAnotherEntry(Faulty):
    async def deliver(self, *given: Any, ticket: Ticket, **named: Any) -> Delivered:
        mark = secrets.token_bytes(16)
        return await self.store.deliver(*given, ticket=ticket._replace(mark=mark), **named)


class SaysWhatIsWrong(SealedDeliveries):
    async def deliver(self, authorization: str | None, body: bytes, now: UnixTime, *, network: bytes | None) -> Taken:
        try:
            return await super().deliver(authorization, body, now, network=network)
        except Refused as refusal:
            if refusal.code == "not_accepted":
                raise Refused("not_accepted", "No such ticket.") from None
            raise


Faults = list[tuple[str, type[Faulty], type[SealedDeliveries]]]
FAULTS: Final[Faults] = [
    ("sealed/a-ticket-is-for-one-message-id", TakesTicketsAgain, SealedDeliveries),
    ("sealed/a-ticket-is-for-one-message-id", CountsRepeatsForAnotherEntry, SealedDeliveries),
    ("sealed/any-other-ticket-is-not-accepted", TakesNextWeeks, SealedDeliveries),
    ("sealed/any-other-ticket-is-not-accepted", Faulty, SaysWhatIsWrong),
]


@contextlib.asynccontextmanager
async def serving(
    folder: Path, store_of: Callable[[Store], Faulty], deliveries: type[SealedDeliveries]
) -> AsyncIterator[str]:
    with free_socket() as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        server = {"public_url": url, "data_dir": str(folder / "data"), "admin_listen": ""}
        registration = {"mode": "open", "open_to_keys": True}
        document = {"server": server, "names": {"services": []}, "registration": registration}
        async with open_app(parse_config(document, folder), SECRET, clock=system_clock) as (app, store):
            faulty = cast(Store, store_of(store))
            receipts = Receipts(SigningKey.from_seed(bytes(64)), origin=url, random_bytes=secrets.token_bytes)
            app[SEALED_DELIVERIES] = deliveries(
                faulty,
                KeyedHash(SECRET),
                RateLimits(system_clock, secrets.token_bytes),
                app[CONFIG],
                Storing(faulty, app[CONFIG], Metrics(), lambda _inbox, _channels: None, receipts),
            )
            async with listening(app, bound):
                yield url


@pytest.mark.parametrize(("case", "store", "deliveries"), FAULTS)
async def test_the_suite_finds_what_a_server_does_wrong_with_tickets(
    tmp_path: Path, case: str, store: type[Faulty], deliveries: type[SealedDeliveries]
) -> None:
    async with serving(tmp_path, store, deliveries) as url:
        report = await report_on(url, case)
        assert list(said(report)) == [case]


async def test_without_a_fault_none_of_these_cases_fails(tmp_path: Path) -> None:
    async with serving(tmp_path, Faulty, SealedDeliveries) as url:
        report = await report_on(url, *dict.fromkeys(case for case, *_ in FAULTS))
        assert said(report) == {}
        assert {each.verdict for each in report.results} == {"passed"}
