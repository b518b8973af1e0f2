"""One run: look at the server, run the cases, delete what was claimed."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.checks.asking import NoAnswer, Server, open_server
from inbox_server.checks.results import quoted
from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Case, Failed, NotRun, Result
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.inboxes import Inboxes
from inbox_server.conformance.observed import CAPABILITIES
from inbox_server.conformance.together import together
from inbox_server.identity.names import is_origin

_AT_ONCE: Final = 4  # cases that run side by side; most wait for the network
_CASE_SECONDS: Final = 180
_MOST_INBOXES: Final = 6  # the default of many servers is a few new ones an hour
_MOST_BYTES: Final = 4 << 20  # a page of 1,000 entries has 1.1 MB


class CannotRun(Exception):
    """The suite cannot say anything about this server; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """`software` is what the server calls itself, `left` names inboxes that could not be deleted."""

    url: str
    software: str
    begun: float
    seconds: float
    results: tuple[Result, ...]
    left: tuple[str, ...]

    @property
    def conforms(self) -> bool:
        return not any(result.breaks for result in self.results)

    def count(self, verdict: str, level: str) -> int:
        return sum((result.verdict, result.case.level) == (verdict, level) for result in self.results)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the tester gives: codes that claim an inbox each, own names, and how long to wait for an answer."""

    invites: Sequence[str] = ()
    names: tuple[Identity, ...] = ()
    seconds: float = 10.0


def check_url(url: str | None) -> None:
    """Raises `CannotRun`."""
    if not url or not is_origin(url):
        raise CannotRun("give the URL of a server: an origin such as https://inbox.example, without a path")


async def run_suite(
    url: str,
    cases: Sequence[Case],
    conditions: Conditions,
    told: Callable[[Result], None],
    *,
    clock: Callable[[], float],
    random_bytes: Callable[[int], bytes],
) -> Report:
    """Run these cases; `told` gets each result at once. Raises `CannotRun`.

    Every inbox of the run is deleted, also when this is cancelled.
    """
    if len({identity.app for identity in conditions.names}) > 1:
        raise CannotRun("the identities of --names are of several apps: their inboxes could not write to each other")
    begun, started = clock(), time.monotonic()
    async with open_server(
        url, conditions.seconds, clock, most_bytes=_MOST_BYTES, user_agent="inbox-server-conformance"
    ) as server:
        bench = await _open_bench(server, conditions.names, random_bytes)
        inboxes = Inboxes(bench, conditions.invites, _MOST_INBOXES)
        left: list[str] = []
        try:
            results = await _run_all(cases, bench, inboxes, told)
        finally:
            left += await inboxes.give_up_all()
    if any(case.inboxes for case in cases) and not inboxes.count:
        raise CannotRun(f"no inbox could be claimed: {inboxes.why_none}")
    software = quoted(bench.document.get("software", "unnamed software"))
    return Report(url, software, begun, time.monotonic() - started, tuple(results), tuple(left))


async def _open_bench(server: Server, names: tuple[Identity, ...], random_bytes: Callable[[int], bytes]) -> Bench:
    document = await _document(server)
    offset = 0.0
    bench = Bench(server, document, offset, random_bytes, names=names)
    with contextlib.suppress(Failed, NotRun):  # what is wrong here is the matter of a case
        before = server.clock()
        told = await bench.second()
        offset = told + 0.5 - (before + server.clock()) / 2
    return Bench(server, document, offset, random_bytes, names=names)


async def _document(server: Server) -> Mapping[str, Any]:
    advice = "`inbox-server ping` says more."
    try:
        answer = await server.ask("GET", CAPABILITIES)
    except NoAnswer as error:
        raise CannotRun(f"{server.url} {error}") from None
    document = answer.members
    if answer.status != 200 or document.get("protocol") != "message-inbox":
        raise CannotRun(f"no inbox server answers at {server.url} ({answer.status}). {advice}")
    if document.get("version") != 1:
        raise CannotRun(f"the server speaks version {quoted(document.get('version'))}; this suite is for version 1")
    if document.get("draining") is True:
        raise CannotRun("the server takes nothing new (`draining`), so no inbox can be claimed: ask its operator")
    origin = document.get("origin")
    if not isinstance(origin, str) or not is_origin(origin):
        raise CannotRun(f"the server calls itself {quoted(origin)}, which is not an origin. {advice}")
    return document


async def _run_all(
    cases: Sequence[Case], bench: Bench, inboxes: Inboxes, told: Callable[[Result], None]
) -> list[Result]:
    """The results, in the order of the cases. Slow ones begin first, and those that judge all answers come last."""
    done: dict[str, Result] = {}
    places = asyncio.Semaphore(_AT_ONCE)

    async def run_one(case: Case) -> None:
        async with places:
            done[case.id] = await _run(case, bench, inboxes)
        told(done[case.id])

    for last in (False, True):
        ordered = sorted((case for case in cases if case.last == last), key=lambda case: (not case.slow, case.uses_up))
        await together(*map(run_one, ordered))
    return [done[case.id] for case in cases]


async def _run(case: Case, bench: Bench, inboxes: Inboxes) -> Result:
    begun = time.monotonic()

    def result(verdict: Any, said: str = "") -> Result:
        return Result(case, verdict, said, time.monotonic() - begun)

    if case.feature and case.feature not in bench.features:
        return result("not run", f"the capability document does not list the feature {case.feature}")
    if case.part and case.part not in bench.document:
        return result("not run", f"the server does without it: the capability document has no {case.part}")
    if len(bench.names) < case.senders + case.named:
        return result("not run", f"it needs {case.senders + case.named} names of yours: give them with --names")
    try:
        async with contextlib.AsyncExitStack() as stack:
            lent = await stack.enter_async_context(inboxes.lent(case.inboxes, named=case.named)) if case.inboxes else []
            begun = time.monotonic()
            async with asyncio.timeout(_CASE_SECONDS):
                await case.run(bench, *lent)
    except Failed as error:
        return result("failed", str(error))
    except NotRun as reason:
        return result("not run", str(reason))
    except TimeoutError:
        return result("failed", f"it was not over after {_CASE_SECONDS} s")
    return result("passed")
