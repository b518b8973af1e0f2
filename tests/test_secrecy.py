"""The listener that hears the whole suite (see conftest.py) knows what it listens for."""

import logging

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World
from tests.support.secrecy import Listener, told

KEY = AppKey(bytes(range(1, 33)))


@pytest.mark.parametrize(
    "secret",
    [
        KEY.public,
        KEY.address,
        "SP2J6ZY48GV1EZ5V2V5RB9MP66SW86PYKKNRV9EJ7",
        "alice.id",
        "127.7.3.9",
        "Bearer x",
        KEY.token({}),
    ],
)
def test_whoever_is_named_in_a_log_is_heard(secret: str) -> None:
    listener = Listener()
    listener.handle(logging.LogRecord("x", logging.DEBUG, "", 0, "before %s after", (secret,), None))
    assert listener.told


@pytest.mark.parametrize(
    "harmless", ["a request failed: ValueError", "inbox_server.id_of", "12345678901234567890123456", ""]
)
def test_what_names_nobody_is_not_heard(harmless: str) -> None:
    assert told(harmless) == []


async def test_the_suite_is_listened_to(listener: Listener, world: World, alice: AppUser, bob: AppUser) -> None:
    before = listener.records
    await alice.inbox(world.inbox_url).deliver("opaque", sender="alice.id", recipient="bob.id")
    assert listener.records > before  # libraries do log at DEBUG
    assert listener.told == []
