"""What the tests of the JavaScript client share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inbox_server.world.local_world import World
from tests.support.javascript import Node, build_client, open_node, search_path
from tests.support.pages import SecondInbox


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    node = open_node(search_path())
    build_client(search_path())
    yield node
    node.close()


@pytest.fixture
async def second_inbox(world: World, tmp_path: Path) -> AsyncIterator[str]:
    second = SecondInbox(world, tmp_path / "second")
    await second.start()
    yield second.url
    await second.stop()
