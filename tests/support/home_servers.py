"""A Matrix home server as far as a bot sees it: rooms, invitations, lines, transaction IDs, limits, refusals.

It answers as Synapse 1.163.2 does; `make matrix` runs the same ways with a real one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import on_loopback

BOT = "@inbox:matrix.example"
BOB = "@bob:matrix.example"
TOKEN = "syt_a_token_of_the_bot"


@dataclass(slots=True)
class Room:
    members: set[str] = field(default_factory=lambda: {BOB})
    invited: set[str] = field(default_factory=lambda: {BOT})
    banned: set[str] = field(default_factory=set)
    lines: list[dict[str, Any]] = field(default_factory=list)
    transactions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class HomeServer:
    """`trouble` is what it answers to everything, as long as it is there: a status and a document, or text."""

    url: str = ""
    rooms: dict[str, Room] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The requests, without the bodies."""
    token: str = TOKEN
    trouble: tuple[int, dict[str, Any] | str] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def settings(self, folder: Path) -> dict[str, str]:
        """The operator's, with the token in a file of this folder."""
        path = folder / "matrix-token"
        path.touch(0o600)
        path.write_text(TOKEN + "\n")
        return {"homeserver": self.url, "user_id": BOT, "token_file": str(path)}

    def room(self, id: str = "!a-direct-chat") -> Room:
        """A direct chat that Bob started, to which the bot is invited."""
        return self.rooms.setdefault(id, Room())

    async def until_asked(self, *parts: str, count: int = 1) -> list[str]:
        """The requests so far, once so many of them have all these parts."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.count(*parts) >= count)
        return self.asked

    def count(self, *parts: str) -> int:
        return sum(all(part in each for part in parts) for each in self.asked)

    async def answer(self, request: web.Request) -> web.Response:
        content = await request.json() if request.can_read_body else None
        status, said = self._answer(request, content)
        self.asked.append(f"{request.method} {unquote(request.rel_url.raw_path)}")
        async with self._changed:
            self._changed.notify_all()
        if isinstance(said, str):
            return web.Response(status=status, text=said, headers=self.headers)
        return web.json_response(said, status=status, headers=self.headers)

    def _answer(self, request: web.Request, content: Any) -> tuple[int, dict[str, Any] | str]:
        if self.trouble:
            return self.trouble
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token passed.", "soft_logout": False}
        match [request.method, *map(unquote, request.rel_url.raw_path.removeprefix("/_matrix/client/v3/").split("/"))]:
            case ["GET", "account", "whoami"]:
                return 200, {"user_id": BOT, "is_guest": False, "device_id": "ADEVICE"}
            case ["POST", "join", id]:
                return self._join(id)
            case ["GET", "rooms", id, "joined_members"] if self._has_bot(id):
                return 200, {"joined": {each: {"display_name": each} for each in self.rooms[id].members}}
            case ["POST", "rooms", id, "leave"] if self._has_bot(id):
                self.rooms[id].members.discard(BOT)
                return 200, {}
            case ["PUT", "rooms", id, "send", "m.room.message", transaction] if self._has_bot(id):
                room = self.rooms[id]
                if transaction not in room.transactions:
                    room.lines.append(content)
                event: str = room.transactions.setdefault(transaction, f"${len(room.lines)}")
                return 200, {"event_id": event}
        return 403, {"errcode": "M_FORBIDDEN", "error": f"User {BOT} not in room"}

    def _has_bot(self, id: str) -> bool:
        return id in self.rooms and BOT in self.rooms[id].members

    def _join(self, id: str) -> tuple[int, dict[str, Any]]:
        room = self.rooms.get(id)
        if room is None:
            return 404, {"errcode": "M_UNKNOWN", "error": "Can't join remote room because no servers …"}
        if BOT in room.banned:
            return 403, {"errcode": "M_BAD_STATE", "error": "User is banned"}
        if BOT not in room.invited | room.members:
            return 403, {"errcode": "M_FORBIDDEN", "error": "You are not invited to this room."}
        room.invited.discard(BOT)
        room.members.add(BOT)
        return 200, {"room_id": id}


@contextlib.asynccontextmanager
async def running_home_server() -> AsyncIterator[HomeServer]:
    home, app = HomeServer(), web.Application()
    app.router.add_route("*", "/{path:.*}", home.answer)
    async with on_loopback(app) as home.url:
        yield home
