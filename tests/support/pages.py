"""Apps in JavaScript with the client of clients/js, and a second inbox server that can be stopped and started."""

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inbox_server.client.appkey import AppKey
from inbox_server.world.local_world import World, free_socket
from inbox_server.world.second_inbox import second_inbox
from tests.conftest import APP
from tests.support.javascript import Node


@dataclass(slots=True)
class Page:
    """A page of an app in JavaScript: each call is by a client of its own, and only what is stored goes on."""

    node: Node
    world: World
    options: Mapping[str, Any]
    stored: Mapping[str, str] = field(default_factory=dict)
    down: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, method: str, *args: Any, clock_ahead: int = 0) -> Any:
        """What a method of `InboxClient` answered. Raises `Failed` with what it threw."""
        given = {
            "options": self.options,
            "now": self.world.clock() + clock_ahead,
            "stored": self.stored,
            "down": self.down,
            "method": method,
            "args": args,
        }
        outcome = await self.node.ask("inbox_client.mjs", given)
        self.stored = outcome["stored"]
        self.requests += outcome["requests"]
        if "problem" in outcome:
            raise Failed(outcome["problem"])
        return outcome["result"]

    async def read_all(self) -> list[Any]:
        """The content of everything unread."""
        unread = await self.call("unread")
        return [(await self.call("fetch", entry))["content"] for entry in unread["entries"]]


class Failed(Exception):
    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{problem['error']}: {problem['message']}")
        self.error = problem["error"]
        self.is_for_now = problem.get("isForNow", False)


def page_of(node: Node, world: World, key: AppKey, name: str | None = None, **options: Any) -> Page:
    """The page of somebody who has a key and perhaps a name; people of the world may write where the hub has a list."""
    base = {"privateKey": key.secret.hex(), "app": APP, "hub": world.hub_url, "names": [world.names_url]}
    for person in world.people:
        if person.app_key.address == key.address and (token := world.association_token(person)):
            base["associationToken"] = token
    return Page(node, world, {**base, **({"name": name} if name else {}), **options})


class SecondInbox:
    """Another inbox server in the same world, always at the same URL, which keeps what it has while it is stopped."""

    def __init__(self, world: World, data_dir: Path) -> None:
        bound = free_socket()
        self.port = bound.getsockname()[1]
        bound.close()
        self.url = f"http://127.0.0.1:{self.port}"
        self._world, self._data_dir = world, data_dir
        self._secret = secrets.token_bytes(32)
        self._running = contextlib.AsyncExitStack()

    async def start(self) -> None:
        await self._running.enter_async_context(second_inbox(self._world, self._data_dir, self._secret, self.port))

    async def stop(self) -> None:
        await self._running.aclose()
