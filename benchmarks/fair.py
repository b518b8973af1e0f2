"""Whether one owner can starve everybody: very many full pages asked at once, with one token, beside deliveries."""

import asyncio
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from benchmarks.busy import beside, timed_deliveries
from benchmarks.filling import fill
from benchmarks.memory import peak_kb, resident_kb
from benchmarks.servers import SECRET, Server, deployment, inbox_server
from benchmarks.signing import Person, Requests, claim, people, query, write_requests
from benchmarks.wire import p50, p99, wires
from benchmarks.wrk import Run, WrongAnswers, run_wrk
from inbox_server.store.texts import TEXT_BYTES

_ENTRIES: Final = 1_000  # the longest page there is
_ALONE: Final = 1_000
_ENTRY_BYTES: Final = TEXT_BYTES + 60  # and at least so much JSON


def measure_fair(folder: Path, seconds: int, pages: int) -> dict[str, Any]:
    """As many connections of one owner ask for full pages again and again; deliveries go to another inbox."""
    owner, quiet, sender = people(3)
    deployed = deployment(folder)
    fill(deployed.data, SECRET, [owner], entries=_ENTRIES, characters=TEXT_BYTES)
    with inbox_server(deployed) as server:
        asking = write_requests(folder / "requests", repeat(query(owner, server.url, f"?limit={_ENTRIES}")), pages)
        found = asyncio.run(_measure(server, asking, quiet, sender, seconds))
        return found | {"peak_mb": peak_kb(server) / 1024, "afterwards_mb": resident_kb(server) / 1024}


async def _measure(server: Server, asking: Requests, quiet: Person, sender: Person, seconds: int) -> dict[str, Any]:
    async with wires(server, 1) as (sending,):
        await sending.ask(claim(quiet, server.url))
        alone = [taken async for taken in timed_deliveries(sending, server, sender, quiet, _ALONE)]
        flood = asyncio.create_task(asyncio.to_thread(_ask, server, asking, seconds))
        meanwhile = await beside(flood, sending, server, sender, quiet)
    run = await flood
    return {
        "pages": run.answered,
        "pages_per_second": run.per_second,
        "alone_p50_ms": p50(alone),
        "alone_p99_ms": p99(alone),
        "p99_to_alone": meanwhile["p99_ms"] / p99(alone),
        **{f"beside_{name}": value for name, value in meanwhile.items()},
    }


def _ask(server: Server, asking: Requests, seconds: int) -> Run:
    """Raises `WrongAnswers` unless the pages are full."""
    run = run_wrk(server, asking, connections=asking.count, seconds=seconds, again=True)
    if run.answered and run.bytes_each < _ENTRIES * _ENTRY_BYTES:
        raise WrongAnswers(f"pages have {run.bytes_each:.0f} bytes")
    return run
