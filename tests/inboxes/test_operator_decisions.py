"""What the operator decides, as owners and senders meet it: in words for the owner, and nothing new for strangers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.server import WAKEUPS
from inbox_server.store.operating import Operating
from tests.conftest import HandClock
from tests.support.edges import SECRET, LiveServer, serving
from tests.support.live import open_stream
from tests.support.requests import Caller, at, check_problem, id_of, new_key


@dataclass(frozen=True, slots=True)
class Scene:
    """Bob has an inbox that takes everybody's deliveries."""

    bob: Caller
    server: LiveServer

    @property
    def inbox(self) -> bytes:
        return KeyedHash(SECRET).inbox(self.bob.key.address)

    @property
    def operating(self) -> Operating:
        return self.server.store.operating

    async def deliver(self, text: str, sender: Caller | None = None) -> Any:
        return await (sender or at(self.bob)).deliver(text, recipient=self.bob.key.address)

    async def capabilities(self) -> dict[str, Any]:
        document: dict[str, Any] = (await self.bob.send("GET", "/.well-known/message-inbox")).json()
        return document


@pytest.fixture
async def scene(tmp_path: Path, clock: HandClock) -> AsyncIterator[Scene]:
    async with serving(tmp_path, clock=clock) as server:
        bob = Caller(server.session, server.url, new_key(), clock)
        assert (await bob.claim({"accept": "anyone"})).status == 201
        yield Scene(bob, server)


async def test_a_suspended_inbox_takes_nothing_from_others_and_all_else_goes_on(scene: Scene) -> None:
    stranger = at(scene.bob)
    assert (await scene.deliver("before", stranger)).status == 201
    await scene.operating.suspend(scene.inbox)
    for text in ("before", "after"):
        refused = await scene.deliver(text, stranger)
        check_problem(refused, "not_accepted")
        to_nobody = await stranger.deliver(text, recipient=new_key().address)
        assert refused.seen() == to_nobody.seen()
    assert (await scene.deliver("my own", scene.bob)).status == 201
    page, settings = (await scene.bob.unread()).json(), (await scene.bob.settings()).json()
    assert ([entry["message_id"] for entry in page["messages"]], page["notices"]) == (
        ["before", "my own"],
        ["suspended"],
    )
    assert (settings["notices"], settings["accept"]) == (["suspended"], "anyone")
    assert (await scene.bob.acknowledge(id_of("before"))).status == 204
    assert (await scene.bob.claim({"accept": "nobody"})).status == 200  # as a move does
    assert (await scene.bob.claim({"accept": "anyone"})).json()["notices"] == ["suspended"]
    await scene.operating.resume(scene.inbox)
    assert (await scene.deliver("after", stranger)).status == 201
    assert (await scene.bob.settings()).json()["notices"] == []
    assert await scene.bob.texts() == ["my own", "after"]


async def test_whoever_waits_is_told_at_once_that_the_inbox_is_suspended(scene: Scene) -> None:
    async with open_stream(scene.bob) as stream:
        first = await stream.next()
        held = asyncio.create_task(scene.bob.unread(after=first.data["cursor"], wait=55))
        while len(scene.server.app[WAKEUPS]) != 2:  # noqa: ASYNC110 — readers come by requests, not by events
            await asyncio.sleep(0)
        await scene.operating.suspend(scene.inbox)
        assert (await stream.next()).data["notices"] == ["suspended"]
        assert (await held).json()["notices"] == ["suspended"]
        await scene.operating.resume(scene.inbox)
        await scene.deliver("after")
        assert [entry["message_id"] for entry in (await stream.next()).data["messages"]] == ["after"]


async def test_who_is_suspended_cannot_get_a_new_inbox_by_deleting_the_old_one(scene: Scene) -> None:
    await scene.operating.suspend(scene.inbox)
    assert (await scene.bob.give_up()).status == 204
    problem = check_problem(await scene.bob.claim({"accept": "anyone"}), "suspended")
    assert "operator" in problem["detail"]
    check_problem(await scene.bob.unread(), "no_inbox")
    await scene.operating.resume(scene.inbox)
    assert (await scene.bob.claim({"accept": "anyone"})).status == 201


async def test_streams_of_an_inbox_that_the_operator_deletes_end(scene: Scene) -> None:
    await scene.deliver("unread")
    async with open_stream(scene.bob) as stream:
        await stream.next()
        await scene.operating.drop(scene.inbox)
        assert (await stream.next()).data["reason"] in ("no_inbox", "cursor_gone")
    check_problem(await scene.deliver("after"), "not_accepted")
    check_problem(await scene.bob.unread(), "no_inbox")
    assert (await scene.bob.claim()).status == 201


async def test_an_owner_sees_the_own_quota(scene: Scene) -> None:
    default = (await scene.bob.settings()).json()["quota"]
    await scene.operating.set_quota(scene.inbox, 1, 2048)
    quota = (await scene.bob.settings()).json()["quota"]
    assert quota == default | {"entries": 1, "bytes": 2048}
    assert (await scene.deliver("one")).status == 201
    check_problem(await scene.deliver("two"), "inbox_full")
    assert (await scene.capabilities())["limits"]["inbox_entries"] == default["entries"]


async def test_a_draining_server_says_so_and_lets_owners_read_and_move(scene: Scene) -> None:
    stranger, carol = at(scene.bob), at(scene.bob)
    await scene.deliver("before", stranger)
    assert "draining" not in await scene.capabilities()
    await scene.operating.drain(on=True)
    assert (await scene.capabilities())["draining"] is True
    for text, sender in (("before", stranger), ("after", stranger), ("my own", scene.bob)):
        refused = await scene.deliver(text, sender)
        check_problem(refused, "draining")
        assert refused.seen() == (await stranger.deliver(text, recipient=carol.key.address)).seen()
    check_problem(await carol.claim(), "draining")
    body = json.dumps({"message_id": "bad", "ttl": 1}).encode()
    check_problem(await stranger.send("POST", "/v1/messages", body), "bad_request", "ttl")
    assert (await scene.bob.claim({"accept": "nobody"})).status == 200
    assert await scene.bob.texts() == ["before"]
    assert (await scene.bob.acknowledge(id_of("before"))).status == 204
    assert (await scene.bob.give_up()).status == 204
    check_problem(await scene.bob.claim(), "draining")
    await scene.operating.drain(on=False)
    assert "draining" not in await scene.capabilities()
    assert (await carol.claim()).status == 201
