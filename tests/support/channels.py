"""Every channel to which owners can subscribe, as a server has them whose operator turned all of them on."""

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from inbox_server.config.file import parse_config
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.notify.channel import OwnerChannel
from inbox_server.outgoing.fetch import open_fetcher
from inbox_server.server import owner_channels
from tests.conftest import HandClock
from tests.support.home_servers import BOT, TOKEN


@contextlib.asynccontextmanager
async def all_channels() -> AsyncIterator[list[OwnerChannel]]:
    with tempfile.NamedTemporaryFile() as token:
        token.write(TOKEN.encode())
        token.flush()
        matrix = {"homeserver": "https://matrix.example", "user_id": BOT, "token_file": token.name}
        document = {"server": {"public_url": "https://inbox.example"}, "notify": {"matrix": matrix}}
        config = parse_config(document, Path("/"))
        async with open_fetcher(allow=frozenset()) as fetcher:
            yield list(owner_channels(config, fetcher, KeyedHash(bytes(32)), HandClock(), secrets.token_bytes))
