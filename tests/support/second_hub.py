"""A second hub beside the world's, for people whose buckets are not all at one place."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from inbox_server.http.listening import listening
from inbox_server.world.faults import Faults
from inbox_server.world.hub import Hub
from inbox_server.world.hub_http import make_hub
from inbox_server.world.hub_reader import make_reader
from inbox_server.world.local_world import World, free_socket


@contextlib.asynccontextmanager
async def at_another_hub(world: World) -> AsyncIterator[World]:
    """The same world with the same names, in which whoever settles has the bucket at another hub."""
    hub, faults = Hub(world.clock), Faults(world.clock)
    with free_socket() as writing, free_socket() as reading:
        hub.write_url, reader = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (writing, reading))
        hub.read_url = reader + hub.rules.read_path
        async with listening(make_hub(hub, faults), writing), listening(make_reader(hub, faults), reading):
            yield replace(world, hub=hub, faults=faults, hub_url=hub.write_url, read_url=hub.read_url)
