"""Running the conformance suite in a test: against a local world, or any server that looks names up in it."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from inbox_server.clock import system_clock
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.run import Conditions, Report, run_suite
from inbox_server.conformance.suite import chosen
from inbox_server.world.local_world import World, running_world
from tests.conftest import APP

NAMES = ("alice.id", "bob.id", "carol.id.blockstack")
SECONDS = 5.0


@contextlib.asynccontextmanager
async def timely_world(folder: Path) -> AsyncIterator[tuple[World, tuple[Identity, ...]]]:
    """A world that runs by the machine's clock, as the suite does, and identities whose names lead to them in it."""
    async with running_world(folder, clock=system_clock) as world:
        people = [await world.settle(name, APP) for name in NAMES]
        yield world, tuple(Identity(person.app_key, person.app, person.name) for person in people)


async def report_on(
    url: str,
    *only: str,
    names: tuple[Identity, ...] = (),
    invites: Sequence[str] = (),
    seconds: float = SECONDS,
    quick: bool = True,
) -> Report:
    """Run these groups or cases, or all; without those that wait for a minute if `quick`. Raises `CannotRun`."""
    return await run_suite(
        url,
        chosen(only, quick=quick),
        Conditions(invites, names, seconds),
        lambda _: None,
        clock=time.time,
        random_bytes=secrets.token_bytes,
    )


def said(report: Report, verdict: str = "failed") -> dict[str, str]:
    """What was said about each case with this verdict."""
    return {result.case.id: result.said for result in report.results if result.verdict == verdict}
