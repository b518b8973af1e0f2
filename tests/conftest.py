"""What the tests share: a clock moved by hand, and a local world with Alice and Bob in it."""

import itertools
import logging
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from inbox_server.client.user import AppUser
from inbox_server.clock import UnixTime
from inbox_server.world.hub_rules import STRICT, HubRules
from inbox_server.world.local_world import World, running_world
from tests.support.edges import PUBLIC, LiveServer, serving
from tests.support.postgres import drop_schemas, need_postgres
from tests.support.secrecy import CLIENT_NETWORK, Listener

_WORLDS = itertools.count()

APP = "https://chat.example"
START = UnixTime(1_800_000_000)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> UnixTime:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now = UnixTime(self.now + seconds)


@pytest.fixture(scope="session", autouse=True)
def listener() -> Iterator[Listener]:
    """Hears every logger at DEBUG while the whole suite runs, and fails it if any of them tells who."""
    listener, root = Listener(), logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield listener
    root.setLevel(level)
    root.removeHandler(listener)
    assert listener.told == []


@pytest.fixture(autouse=True)
def _loud_libraries() -> None:
    """The command silences libraries; a test that ran it in this process must not silence them for the next one."""
    for name in ("aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def _client_address() -> str | None:
    """Another one for each world. Linux has all of 127.0.0.0/8; elsewhere only the first address is there."""
    number = next(_WORLDS)
    return f"{CLIENT_NETWORK}{number // 250 % 250}.{number % 250 + 1}" if sys.platform == "linux" else None


@pytest.fixture
def hub_rules() -> HubRules:
    """A test that wants a stricter hub parametrizes this; one that is marked `both_hubs` runs with either."""
    return HubRules()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hub_rules" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_hubs"):
        rules = {"local hub": HubRules(), "strict hub": STRICT}
        metafunc.parametrize("hub_rules", rules.values(), ids=rules.keys())


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("postgres"):
        need_postgres()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Once everything is closed that the test had."""
    try:
        return (yield)
    finally:
        drop_schemas()


@pytest.fixture
async def world(tmp_path: Path, clock: HandClock, hub_rules: HubRules) -> AsyncIterator[World]:
    """Name service, hub and inbox server on loopback; registration is open to everyone."""
    address = _client_address()
    async with running_world(tmp_path / "data", clock=clock, client_address=address, rules=hub_rules) as world:
        yield world


@pytest.fixture
async def alice(world: World) -> AsyncIterator[AppUser]:
    """alice.id, with a published profile and nothing in her bucket."""
    async with world.user(await world.settle("alice.id", APP)) as user:
        yield user


@pytest.fixture
async def bob(world: World) -> AsyncIterator[AppUser]:
    """bob.id, with key and card in his bucket and his inbox claimed for his name."""
    async with world.user(await world.settle("bob.id", APP)) as user:
        await user.publish((world.inbox_url,), seq=1)
        await user.inbox(world.inbox_url).claim({"names": ["bob.id"]})
        yield user


@pytest.fixture
async def server(tmp_path: Path, clock: HandClock) -> AsyncIterator[LiveServer]:
    """Behind another name than its address, as in real life."""
    async with serving(
        tmp_path, clock=clock, server__public_url=PUBLIC, server__hosts=["other.example:8443"]
    ) as server:
        yield server
