"""The second server and ours, asked the same at random: what the page leaves open would show as a difference."""

import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inbox_server.checks.asking import open_server
from inbox_server.client.appkey import AppKey
from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from tests.conftest import APP
from tests.support.second_server import second_server
from tests.support.serving import deploy

pytestmark = pytest.mark.timeout(120, func_only=True)

STEPS = 250
TEXTS = [f"message {number}" for number in range(40)]
ALICE, BOB = (Identity(AppKey(hashlib.sha256(name).digest()), APP) for name in (b"alice", b"bob"))


@dataclass(slots=True)
class Twin:
    """Bob's inbox at one of the servers, and the cursors that it gave."""

    inbox: Inbox
    cursors: list[str] = field(default_factory=list)

    async def list(self, limit: int, after: int | None) -> Any:
        query: dict[str, Any] = {"limit": limit} if after is None else {"limit": limit, "after": self.cursors[after]}
        page = dict((await self.inbox.listed(**query)).expect(200).members)
        self.cursors.append(page.pop("cursor"))
        return page


def told(reply: Reply) -> Any:
    """What must be the same: for people, each server has words of its own, and only ours has some features."""
    return reply.status, reply.code or {
        name: value for name, value in reply.members.items() if name not in ("webhook", "tickets")
    }


@contextlib.asynccontextmanager
async def twins(folder: Path, seed: int) -> AsyncIterator[list[Twin]]:
    ours = deploy(folder / "ours", limits__inbox_entries=5, limits__inbox_read_entries=1000)
    limits = ("--limits", "inbox_entries=5,inbox_read_entries=1000")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(ours.running())
        found = []
        for url in (ours.url, await stack.enter_async_context(second_server(folder, "--any-key", *limits))):
            server = await stack.enter_async_context(open_server(url, 10, time.time))
            bench = Bench(server, {"origin": url}, 0, random.Random(seed).randbytes)
            inbox = Inbox(bench, BOB)
            (await inbox.put({"accept": "anyone"})).expect(201)
            found.append(Twin(inbox))
        yield found


@pytest.mark.parametrize("seed", range(2))
async def test_a_random_walk_is_answered_alike(tmp_path: Path, seed: int) -> None:
    chance, codes = random.Random(seed), set()
    async with twins(tmp_path, seed) as both:
        for step in range(STEPS):
            what = chance.choices(("deliver", "ack", "list", "settings"), (40, 20, 35, 5))[0]
            text, issued = chance.choice(TEXTS), int(time.time())
            life = chance.choice((None, 3600, 7200, 90_000, 200_000))
            acked = [id_of(each) for each in chance.sample(TEXTS, chance.randrange(4))]
            limit = chance.choice((1, 2, 3, 100))
            after = chance.choice((None, *range(len(both[0].cursors))))
            answers = []
            for twin in both:
                if what == "deliver":
                    reply = await twin.inbox.deliver(text, sender=ALICE, ttl=life, issued=issued, patient=False)
                    answers.append(told(reply))
                    codes.add(reply.code or str(reply.status))
                elif what == "ack":
                    answers.append(told(await twin.inbox.ack(*acked)))
                elif what == "list":
                    answers.append(await twin.list(limit, after))
                else:
                    answers.append(told(await twin.inbox.get()))
            assert answers[0] == answers[1], f"step {step}: {what}"
    assert codes == {"201", "200", "inbox_full"}
