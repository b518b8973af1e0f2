"""No answer is sent before what it promises is synced: the server's system calls under load, as strace saw them."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from inbox_server.clock import system_clock
from tests.faults.trace import COMMAND, answers_in, calls_in, early_truncations
from tests.support.requests import Caller, new_key
from tests.support.serving import client_session, deploy
from tests.support.tracing import need_strace, traced_server

SENDERS = 8
EACH = 5


async def _deliver(owner: Caller, texts: Sequence[str]) -> None:
    """One after the other, on a connection of its own."""
    async with client_session() as session:
        sender = Caller(session, owner.url, new_key(), system_clock)
        for text in texts:
            assert (await sender.deliver(text, recipient=owner.key.address)).status == 201


async def _read(owner: Caller, entries: int) -> int:
    """Acknowledge whatever is listed until it was so many; how many acknowledgements that took."""
    acks = 0
    while entries:
        ids = [entry["id"] for entry in (await owner.unread()).json()["messages"]]
        if ids:
            assert (await owner.acknowledge(*ids)).status == 204
            acks, entries = acks + 1, entries - len(ids)
    return acks


@pytest.mark.timeout(120)
async def test_every_answer_is_sent_after_the_sync_of_what_it_says(tmp_path: Path) -> None:
    need_strace()
    place, trace = deploy(tmp_path / "inbox"), tmp_path / "trace"
    texts = [[f"text-{secrets.token_hex(16)}" for _ in range(EACH)] for _ in range(SENDERS)]
    async with traced_server(COMMAND, trace, place.command), client_session() as session:
        owner = Caller(session, place.url, new_key(), system_clock)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        reading = asyncio.create_task(_read(owner, SENDERS * EACH))
        await asyncio.gather(*(_deliver(owner, each) for each in texts))
        acks = await reading
    calls = calls_in(trace.read_text().splitlines())
    answers = answers_in(calls, (201, 204))
    assert sorted(answer.text for answer in answers if answer.text) == sorted(itertools.chain(*texts))
    assert [answer.status for answer in answers if not answer.text] == [201, *[204] * acks]
    assert [answer for answer in answers if not answer.synced] == []
    assert early_truncations(calls) == []
