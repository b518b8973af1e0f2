"""After an acknowledgement nothing is left of a text, in any file, also after a crash."""

import asyncio
import base64
import secrets
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.clock import system_clock
from tests.conftest import APP
from tests.support.serving import client_session, deploy

ENTRIES = 3000
ACK_IDS = 1000


def left_behind(folder: Path, mark: str) -> int:
    """How often a mark stands in the files below `folder`: plain, in hex, or in base64."""
    assert len(mark) % 3 == 0, "whole groups of base64, so that what follows the mark does not change it"
    raw = mark.encode()
    forms = (raw, raw.hex().encode(), base64.b64encode(raw))
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return sum(content.count(form) for content in files for form in forms)


async def gone(folder: Path, mark: str, *, within_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_seconds
    while left := left_behind(folder, mark):
        assert loop.time() < end, f"{left} texts are still in the files"
        await asyncio.sleep(0.02)


def new_mark() -> str:
    return f"mark-{secrets.token_hex(8)}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("crash", [False, True], ids=["running", "killed"])
async def test_no_acknowledged_text_is_left_in_any_file(tmp_path: Path, crash: bool) -> None:
    place = deploy(tmp_path)
    bob, alice = AppKey(secrets.token_bytes(32)), AppKey(secrets.token_bytes(32))
    mark = new_mark()
    async with client_session() as session:
        own = Inbox(session, place.url, APP, bob, system_clock)
        sender = Inbox(session, place.url, APP, alice, system_clock)
        async with place.running() as server:
            await own.claim({"accept": "anyone"})
            gate = asyncio.Semaphore(32)

            async def deliver(number: int) -> str:
                async with gate:
                    answer = await sender.deliver(f"{mark} {number}", sender=alice.public, recipient=bob.address)
                return str(answer["id"])

            ids = await asyncio.gather(*map(deliver, range(ENTRIES)))
            assert left_behind(place.data, mark) >= ENTRIES  # the search finds what is there
            for start in range(0, ENTRIES, ACK_IDS):
                await own.acknowledge(list(ids[start : start + ACK_IDS]))
            if crash:
                server.kill()
                await server.wait()
            else:
                await gone(place.data, mark, within_seconds=1)
        if crash:
            async with place.running():
                await gone(place.data, mark, within_seconds=1)
                assert (await own.unread())["messages"] == []


async def test_nothing_of_a_deleted_inbox_is_left_in_any_file(tmp_path: Path) -> None:
    place = deploy(tmp_path)
    bob, alice = AppKey(secrets.token_bytes(32)), AppKey(secrets.token_bytes(32))
    mark = new_mark()
    async with client_session() as session, place.running():
        own = Inbox(session, place.url, APP, bob, system_clock)
        await own.claim({"accept": "anyone"})
        sender = Inbox(session, place.url, APP, alice, system_clock)
        await asyncio.gather(
            *(sender.deliver(f"{mark} {n}", sender=alice.public, recipient=bob.address) for n in range(200))
        )
        assert left_behind(place.data, mark) >= 200
        await own.forget()
        await gone(place.data, mark, within_seconds=1)


def test_the_search_knows_the_forms_a_text_may_take(tmp_path: Path) -> None:
    mark = new_mark()
    text = f"{mark} 17".encode()
    for form in (text, text.hex().encode(), base64.b64encode(text)):
        (tmp_path / "file").write_bytes(b"before " + form + b" after")
        assert left_behind(tmp_path, mark) == 1
