"""Inboxes and entries as any build takes them: over HTTP, whatever its database looks like."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from benchmarks.servers import Server, ask_json
from benchmarks.signing import Person, claim, deliveries, settings
from benchmarks.wire import Wire, wires

_CONNECTIONS: Final = 32


def settle(server: Server, owners: Sequence[Person], senders: Sequence[Person] = (), *, entries: int = 0) -> None:
    """An inbox that takes anyone's for each owner, and as many entries in it."""
    asyncio.run(_ask_all(server, (claim(owner, server.url) for owner in owners)))
    if entries:
        count = entries * len(owners)
        asyncio.run(_ask_all(server, islice(deliveries(senders, owners, server.url), count)))


def send_all(server: Server, requests: Iterable[bytes]) -> None:
    """Send them, all of which must succeed."""
    asyncio.run(_ask_all(server, requests))


def unread(server: Server, owners: Iterable[Person]) -> int:
    """How many entries the inboxes say that they have."""
    return sum(int(ask_json(server, settings(owner, server.url))["unread"]) for owner in owners)


async def _ask_all(server: Server, requests: Iterable[bytes]) -> None:
    rest = iter(requests)

    async def work(wire: Wire) -> None:
        for request in rest:
            json.loads(await wire.ask(request) or b"{}")

    async with wires(server, _CONNECTIONS) as opened:
        await asyncio.gather(*map(work, opened))
