"""The operator's webhook, with a server that takes what ntfy takes: a POST whose body is what the telephone shows."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox_server.config.config import BadConfig
from inbox_server.config.file import parse_config
from inbox_server.world.local_world import World
from tests.support.ntfy import Ntfy, running_ntfy
from tests.support.requests import Caller, at, inbox_server

TOKEN = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"


@pytest.fixture
async def ntfy() -> AsyncIterator[Ntfy]:
    async with running_ntfy() as ntfy:
        ntfy.tokens["my-inbox"] = TOKEN
        yield ntfy


@contextlib.asynccontextmanager
async def telling(world: World, folder: Path, **more: Any) -> AsyncIterator[list[Caller]]:
    """Two owners at a server that tells a webhook."""
    settings = {
        "registration": {"mode": "open", "open_to_keys": True},
        "notify": {
            "jitter_seconds": 0,
            "pause_seconds": 1,
            "webhook_authorization": f"Bearer {TOKEN}",
            **more,
        },
    }
    async with inbox_server(world, folder / "telling", settings) as one:
        owners = [one, at(one)]
        for owner in owners:
            assert (await owner.claim({"accept": "anyone"})).status == 201
        yield owners


async def deliver(owner: Caller, text: str) -> None:
    assert (await at(owner).deliver(text, recipient=owner.key.public)).status == 201


async def test_ntfy_shows_that_something_waits_and_not_for_whom(world: World, tmp_path: Path, ntfy: Ntfy) -> None:
    async with telling(world, tmp_path, webhook_url=f"{ntfy.url}/my-inbox") as owners:
        await deliver(owners[0], "some opaque text")
        await ntfy.arrivals(1)
    assert ntfy.shown == {"my-inbox": ["Something waits in your inbox."]}
    told = repr(ntfy.asked)
    for secret in ("some opaque text", owners[0].key.public, owners[0].key.address, owners[0].app):
        assert secret not in told


async def test_it_is_told_once_a_pause_for_the_whole_server(world: World, tmp_path: Path, ntfy: Ntfy) -> None:
    async with telling(world, tmp_path, webhook_url=f"{ntfy.url}/my-inbox", pause_seconds=86_400) as owners:
        for number in range(20):
            await deliver(owners[number % 2], f"{number}")
        await ntfy.arrivals(1)
    assert len(ntfy.asked) == 1


async def test_after_the_pause_it_is_told_again_also_when_it_failed(world: World, tmp_path: Path, ntfy: Ntfy) -> None:
    async with telling(world, tmp_path, webhook_url=f"{ntfy.url}/my-inbox") as owners:
        ntfy.status = 500
        await deliver(owners[0], "one")
        await ntfy.arrivals(1)
        ntfy.status = 200
        await deliver(owners[1], "two")
        await ntfy.arrivals(2)
        assert await owners[0].texts() == ["one"]
    assert ntfy.asked[0] == ntfy.asked[1]


async def test_without_a_url_nobody_is_told(world: World, tmp_path: Path, ntfy: Ntfy) -> None:
    async with telling(world, tmp_path, webhook_url="") as owners:
        await deliver(owners[0], "one")
    assert ntfy.asked == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("webhook_url", "ftp://ntfy.example/x"),
        ("webhook_url", "https://user:password@ntfy.example/x"),
        ("webhook_url", "ntfy.example/x"),
        ("webhook_url", 1),
        ("webhook_authorization", "Bearer secret\r\nX-More: 1"),
        ("webhook_authorization", "Bearer sécret"),
        ("webhook_authorization", " Bearer secret"),
        ("webhook_authorization", 1),
    ],
)
def test_a_mistake_is_named_without_the_value(tmp_path: Path, key: str, value: Any) -> None:
    document = {"server": {"public_url": "https://inbox.example"}, "notify": {key: value}}
    with pytest.raises(BadConfig, match=f"notify.{key}") as mistake:
        parse_config(document, tmp_path)
    assert "secret" not in str(mistake.value)
    assert "password" not in str(mistake.value)


def test_no_representation_of_the_configuration_shows_the_authorization(tmp_path: Path) -> None:
    notifications = {"webhook_url": "http://ntfy.internal:8080/x?up=1", "webhook_authorization": f"Bearer {TOKEN}"}
    config = parse_config({"server": {"public_url": "https://inbox.example"}, "notify": notifications}, tmp_path)
    assert (config.webhook_url, config.webhook_authorization) == (notifications["webhook_url"], f"Bearer {TOKEN}")
    assert TOKEN not in repr(config)
