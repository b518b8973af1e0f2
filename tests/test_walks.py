"""The walks in docs/architecture.md, compared with the files that a request really enters, in their order."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.world.local_world import running_world
from tests.conftest import APP, HandClock

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "inbox_server"
WALKS = 3
FIRST = "http/fast_path.py"  # where a request comes in; what is entered before it is not the request's, such as a sweep


class Footprints:
    """The server's files in which a function was called while `watching`, in the order of the first call.

    Client and world are not the server.
    """

    def __init__(self) -> None:
        self.watching = False
        self.files: list[str] = []

    def step(self, frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if self.watching and event == "call" and path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            is_new = name not in self.files and (self.files or name == FIRST)
            if is_new and not name.startswith(("client/", "world/")):
                self.files.append(name)


@contextmanager
def profiled(step: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    threading.setprofile(step)  # the database's threads start after this
    sys.setprofile(step)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def walk_in_docs(name: str) -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    match = re.search(rf"<!-- walk: {name} -->(.*?)<!-- /walk -->", text, re.DOTALL)
    assert match
    return re.findall(r"^\d+\. `([\w/.]+)`", match[1], re.MULTILINE)


async def test_requests_enter_the_files_that_the_docs_list_in_that_order(tmp_path: Path, clock: HandClock) -> None:
    prints = Footprints()
    with profiled(prints.step):
        async with running_world(tmp_path, clock=clock) as world:
            alice, bob = await world.settle("alice.id", APP), await world.settle("bob.id", APP)
            async with world.user(bob) as user:
                await user.inbox(world.inbox_url).claim({"names": ["bob.id"]})

            async def walk(method: str, body: bytes | None, token: str) -> list[str]:
                """The files that the server enters for one request. It is signed before, so only the server works."""
                headers = {"Authorization": f"Bearer {token}"}
                prints.files, prints.watching = [], True
                url = f"{world.inbox_url}/v1/messages"
                async with world.session.request(method, url, data=body, headers=headers) as response:
                    assert response.status in (200, 201)
                prints.watching = False
                return prints.files

            def deliver(body: bytes) -> str:
                return deliver_token(
                    alice.app_key,
                    body,
                    sender="alice.id",
                    recipient="bob.id",
                    app=APP,
                    inbox=world.inbox_url,
                    now=clock(),
                )

            first = b'{"message_id":"first"}'
            await walk("POST", first, deliver(first))  # from here on both names are remembered
            delivered, unread = [], []
            for number in range(WALKS):
                body = b'{"message_id":"%d"}' % number
                delivered.append(await walk("POST", body, deliver(body)))
                clock.advance(1)  # another token, after a change: nothing is answered from memory
                read = owner_token(bob.app_key, scope="read", app=APP, inbox=world.inbox_url, now=clock())
                unread.append(await walk("GET", None, read))

    for name, most, walks in (("delivery", 5, delivered), ("unread", 4, unread)):
        listed = walk_in_docs(name)
        assert 2 < len(listed) <= most
        for entered in walks:
            assert [file for file in entered if file in listed] == listed
