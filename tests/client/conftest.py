"""Alice and Bob as clients of the local world, and a server that answers as it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.clients import Scripted, client_of, scripted
from tests.support.providers import Provider, provided


@pytest.fixture
async def alice(world: World) -> AsyncIterator[InboxClient]:
    """alice.id, who published nothing."""
    async with client_of(world, "alice.id", app=APP) as client:
        yield client


@pytest.fixture
async def bob(world: World) -> AsyncIterator[InboxClient]:
    """bob.id, with the world's inbox server on his card."""
    async with client_of(world, "bob.id", world.inbox_url, app=APP) as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def provider(world: World, tmp_path: Path) -> AsyncIterator[Provider]:
    """An inbox server that can be stopped, restored and made to lie."""
    async with provided(world, tmp_path / "provider") as provider:
        yield provider
