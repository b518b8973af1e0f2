"""Whether long work holds up a delivery: many acknowledgements, giving up a full inbox, a sweep of all the rest.

And whether a very large inbox pages as quickly at its end as at its beginning.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, Final

from benchmarks.filling import fill
from benchmarks.servers import SECRET, Server, deployment, inbox_server
from benchmarks.signing import Person, acknowledgement, claim, delivery, giving_up, people, query
from benchmarks.wire import Wire, p50, p99, wires
from inbox_server.store.sqlite.opening import DATABASE_NAME

_QUIET_DELIVERIES: Final = 1_000
_PAGE: Final = 1_000
_ACKED: Final = 10_000
_PAUSE_SECONDS: Final = 0.002


def measure_busy(folder: Path, entries: int) -> dict[str, Any]:
    """Two inboxes of very many entries each; the deliveries that are timed go to a third, one after another."""
    large, leaving, quiet, sender = people(4)
    deployed = deployment(folder)
    fill(deployed.data, SECRET, [large, leaving], entries=entries)
    with inbox_server(deployed) as server:
        found = asyncio.run(_with_owners(server, large, leaving, quiet, sender, entries))
    _expire(deployed.data)
    with inbox_server(deployed) as server:
        found |= asyncio.run(_with_sweep(server, quiet, sender))
    return {"entries": entries} | found


async def _with_owners(
    server: Server, large: Person, leaving: Person, quiet: Person, sender: Person, entries: int
) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        (owner,) = await stack.enter_async_context(wires(server, 1))
        await owner.ask(claim(quiet, server.url))
        ids, pages = await _page_through(owner, server, large, entries)
        (sending,) = await stack.enter_async_context(wires(server, 1))  # now, because who is silent for long is cut off
        undisturbed = [taken async for taken in timed_deliveries(sending, server, sender, quiet, _QUIET_DELIVERIES)]
        acking = await beside(
            _acknowledge(owner, server, large, ids[: min(_ACKED, entries)]), sending, server, sender, quiet
        )
        giving = await beside(owner.ask(giving_up(leaving, server.url)), sending, server, sender, quiet)
    return {
        "page_first_ms": pages[0],
        "page_last_ms": pages[-1],
        "page_last_to_first": pages[-1] / pages[0],
        "undisturbed_p50_ms": p50(undisturbed),
        "undisturbed_p99_ms": p99(undisturbed),
        **{f"acking_{name}": value for name, value in acking.items()},
        **{f"giving_up_{name}": value for name, value in giving.items()},
    }


async def _with_sweep(server: Server, quiet: Person, sender: Person) -> dict[str, Any]:
    """The sweeper begins when the server does."""
    async with wires(server, 1) as (sending,):
        sweeping = await beside(_swept(server.data), sending, server, sender, quiet)
    return {f"sweeping_{name}": value for name, value in sweeping.items()}


async def _page_through(wire: Wire, server: Server, owner: Person, entries: int) -> tuple[list[str], list[float]]:
    """Every id in the order in which it was listed, and the milliseconds of each tenth of the pages, as medians."""
    ids: list[str] = []
    taken, more, cursor = [], True, ""
    while more:
        request = query(owner, server.url, f"?limit={_PAGE}{cursor}")
        start = time.perf_counter()
        page = json.loads(await wire.ask(request))
        taken.append(1e3 * (time.perf_counter() - start))
        ids += [entry["id"] for entry in page["messages"]]
        more, cursor = page["more"], f"&after={page['cursor']}"
    assert len(ids) == len(set(ids)) == entries, "a page lost or repeated an entry"
    tenth = max(len(taken) // 10, 1)
    return ids, [p50(taken[start : start + tenth]) for start in range(0, len(taken), tenth)]


async def _acknowledge(wire: Wire, server: Server, owner: Person, ids: list[str]) -> None:
    for start in range(0, len(ids), _PAGE):
        await wire.ask(acknowledgement(owner, server.url, ids[start : start + _PAGE]))


async def _swept(folder: Path) -> None:
    """Until nothing that has expired is left."""
    uri = f"file:{folder / DATABASE_NAME}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        while db.execute("SELECT EXISTS (SELECT 1 FROM message WHERE forget_at = 1)").fetchone()[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _expire(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE message SET expires = 1, forget_at = 1")


async def beside(
    work: Awaitable[object], sending: Wire, server: Server, sender: Person, quiet: Person
) -> dict[str, float]:
    """How long deliveries take while `work` goes on, and how long that takes."""
    start = time.perf_counter()
    taken: list[float] = []
    task = asyncio.ensure_future(work)
    delivering = timed_deliveries(sending, server, sender, quiet, None)
    async with contextlib.aclosing(delivering):  # type: ignore[type-var]
        while not task.done() or len(taken) < 2:
            taken.append(await anext(delivering))
    await task
    return {
        "s": time.perf_counter() - start,
        "deliveries": len(taken),
        "p50_ms": p50(taken),
        "p99_ms": p99(taken),
        "most_ms": max(taken),
    }


async def timed_deliveries(
    wire: Wire, server: Server, sender: Person, recipient: Person, count: int | None
) -> AsyncIterator[float]:
    """The milliseconds of each delivery, with a pause in between; without end when `count` is None."""
    sent = 0
    while count is None or sent < count:
        request = delivery(sender, recipient, server.url)
        await asyncio.sleep(_PAUSE_SECONDS)
        start = time.perf_counter()
        await wire.ask(request)
        yield 1e3 * (time.perf_counter() - start)
        sent += 1
