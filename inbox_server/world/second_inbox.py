"""A second inbox server in a local world, so that its people can move an inbox."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from yarl import URL

from inbox_server.http.listening import listening
from inbox_server.server import open_app
from inbox_server.world.local_world import World, bind, world_config


@contextlib.asynccontextmanager
async def second_inbox(world: World, data_dir: Path, secret: bytes, port: int = 0) -> AsyncIterator[str]:
    """Run it on this port (0: the system chooses one); yields its URL. Raises `PortsTaken`."""
    with bind(port) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        config = world_config(data_dir, url, world.names_url, str(URL(world.read_url).origin()))
        async with open_app(config, secret, clock=world.clock) as (app, _), listening(app, bound):
            world.other_inboxes[url] = data_dir
            yield url
