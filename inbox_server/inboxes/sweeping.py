"""Deleting expired entries at regular intervals, by a clock that can be trusted."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from inbox_server.clock_guard import ClockGuard
from inbox_server.errors import Unavailable
from inbox_server.store.contract import Store

SWEEP_SECONDS: Final = 5  # an expired entry is never listed; this is how soon its bytes are erased

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def sweeping(store: Store, guard: ClockGuard) -> AsyncIterator[None]:
    """Sweep for as long as the context lasts. The first round is done before the context is entered."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await _try_round(store, guard)

    await _try_round(store, guard)
    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def sweep_once(store: Store, guard: ClockGuard) -> None:
    """One round. After a clock jump, nothing is deleted for a while, and what expired by the jump alone is kept longer.

    A jump that lasts may be an outage, a machine that slept, or a clock that is still wrong.
    """
    if guard.has_jumped() and not guard.has_held():
        return
    since = guard.known_until()
    if since is not None:
        await store.prolong(since, guard.clock())
        guard.accept()
    await store.sweep(guard.dating())


async def _try_round(store: Store, guard: ClockGuard) -> None:
    try:
        await sweep_once(store, guard)
    except Unavailable:  # a full disk, which is already logged; the next round may succeed
        pass
    except Exception as error:  # noqa: BLE001 — the sweeper outlives whatever one round meets
        log.error("a sweep failed: %s", type(error).__name__)  # noqa: TRY400 — a traceback may hold values
