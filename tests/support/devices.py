"""Devices of one owner that do what docs/protocol.md tells a client to do, the server that they ask, and what its owner
must be shown.

A device knows nothing but JSON, and nothing of the model. People and HTTP are left out: deliveries go straight into the
store. What an owner asks goes through what is behind the routes, from the token to the JSON.
"""

import contextlib
import functools
import itertools
import json
import shutil
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import owner_token
from inbox_server.clock import UnixTime
from inbox_server.errors import Refused
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.inboxes.follow import Following
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.wakeups import Wakeups
from inbox_server.store.contract import TOMBSTONE_SECONDS, Quota
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.opening import open_store
from tests.conftest import APP, HandClock
from tests.support.api_inbox import HOUR, id_of
from tests.support.live import Event, parse_event
from tests.support.requests import SECRET
from tests.support.stores import ADMISSION, CHECK_VALUE, Box

MAX_RETENTION: Final = 60_000
MOST_TURNS: Final = 100
"""More than a device takes to hear of everything."""
_QUOTA: Final = Quota(entries=1000, bytes=1 << 20, max_retention=MAX_RETENTION, tombstones=50_000)
_KEY: Final = AppKey(bytes(range(1, 33)))
_HASHES: Final = KeyedHash(SECRET)
_AUDIENCE: Final = "https://inbox.example"

Shown = dict[str, tuple[str, int]]
"""By id: the opaque text, and when it expires."""


@dataclass(slots=True)
class Remembered:
    """What was read: when its senders think that it expires, and when it may be listed again."""

    expires: int
    forget_at: int


@dataclass(slots=True)
class Owner:
    """What must be there, in the plainest way: two dictionaries. `finished` is what was read and not listed since."""

    claimed: bool = False
    unread: Shown = field(default_factory=dict)
    read: dict[str, Remembered] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def shown(self, now: int) -> Shown:
        return {id: entry for id, entry in self.unread.items() if entry[1] > now}

    def deliver(self, text: str, granted: int, now: int) -> None:
        id = id_of(text)
        if known := self.read.get(id):
            known.expires = granted if known.expires <= now else max(known.expires, granted)
            known.forget_at = max(known.forget_at, known.expires)
        else:
            self.unread[id] = text, max(granted, self.unread.get(id, (text, 0))[1])
            self.finished.discard(id)

    def acknowledge(self, id: str, now: int) -> None:
        self.finished.add(id)
        if id in self.unread:
            _, expires = self.unread.pop(id)
            self.read[id] = Remembered(expires, max(expires, now + TOMBSTONE_SECONDS))
        elif id not in self.read:
            self.read[id] = Remembered(0, now + MAX_RETENTION)

    def sweep(self, now: int) -> None:
        self.unread = self.shown(now)
        self.read = {id: known for id, known in self.read.items() if known.forget_at > now}

    def edges(self, now: int) -> list[int]:
        """The moments ahead at which something expires or is forgotten."""
        moments = {expires for _, expires in self.unread.values()} | {known.forget_at for known in self.read.values()}
        return sorted(moment for moment in moments if moment > now)

    def without_messages(self) -> "Owner":
        return Owner(self.claimed)


class Server:
    """One server on one folder, whose clock is moved by hand. It sweeps only when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self._folder = folder / "data"
        self._drawn = itertools.count()
        self._opened = contextlib.AsyncExitStack()

    async def open(self) -> None:
        self._wakeups = Wakeups()
        opening = open_store(self._folder, check_value=CHECK_VALUE, quota=_QUOTA, changed=self._wakeups.wake)
        store = await self._opened.enter_async_context(opening)
        self._box = Box(store, self.clock, _HASHES.inbox(_KEY.address))
        # Without a pause before the ping, it says: nothing is new.
        following = Following(store, self._wakeups, self.clock, self._random_bytes, ping_seconds=0)
        self._reading = Reading(store, following, _HASHES, audience=_AUDIENCE)

    def stop(self) -> None:
        """Every stream is told."""
        self._wakeups.stop()

    async def close(self) -> None:
        await self._opened.aclose()

    async def claim(self) -> None:
        """The generation is another each time, and the change numbers are the same, so that they are mistaken."""
        assert await self._box.claim(admission=replace(ADMISSION, generation=self._random_bytes(8)))

    async def give_up(self) -> None:
        assert await self._box.store.forget(self._box.inbox, issued=self.clock(), request=b"a DELETE request")

    async def deliver(self, text: str, life: int) -> None:
        await self._box.deliver(text, life)

    async def sweep(self) -> None:
        await self._box.sweep()

    def back_up(self, copy: Path, *, settings_only: bool) -> None:
        back_up(self._folder, copy, check_value=CHECK_VALUE, settings_only=settings_only)

    async def restore(self, copy: Path) -> None:
        """In place of what is there."""
        await self.close()
        shutil.rmtree(self._folder)
        restore(self._folder, copy, check_value=CHECK_VALUE, random_bytes=self._random_bytes, now=self.clock())
        await self.open()

    async def page(self, after: str | None, limit: int) -> dict[str, Any]:
        """`GET /v1/messages`. Raises `Refused`."""
        query = {"limit": str(limit)} | ({} if after is None else {"after": after})
        target = "&".join(f"{name}={value}" for name, value in query.items())
        token = self._token("read")
        remembered = self._reading.poll(token, target, self.clock())
        answer = remembered or await self._reading.unread(token, target, query, self.clock())
        whole = answer if isinstance(answer, bytes) else b"".join([part async for part in answer])
        page: dict[str, Any] = json.loads(whole)
        return page

    def events(self, after: str | None, limit: int) -> AsyncGenerator[bytes, None]:
        """`GET /v1/events`. Raises `Refused`, also in place of the first."""
        return self._reading.events(self._token("read"), {"limit": str(limit)}, after, self.clock())

    async def acknowledge(self, ids: Collection[str]) -> None:
        """Raises `Refused`."""
        body = json.dumps({"ids": list(ids)}).encode()
        await self._reading.acknowledge(self._token("ack", body), body, self.clock())

    def _token(self, scope: str, body: bytes = b"") -> str:
        """For reading, as a device uses it for an hour."""
        return _signed(scope, self.clock() // HOUR * HOUR if scope == "read" else self.clock(), body)

    def _random_bytes(self, size: int) -> bytes:
        return next(self._drawn).to_bytes(size, "big")


@functools.lru_cache
def _signed(scope: str, issued: int, body: bytes) -> str:
    seconds = HOUR if scope == "read" else 300
    token = owner_token(_KEY, scope=scope, app=APP, inbox=_AUDIENCE, now=UnixTime(issued), body=body, seconds=seconds)
    return f"Bearer {token}"


class Device:
    """One that lists. It is asked for a turn at a time, between which anything may happen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cursor: str | None = None
        self.held: Shown = {}
        """With what has expired, until a new list takes its place."""
        self._read: dict[str, int] = {}
        """What was read of it, on any device, and when it would have expired."""

    def shown(self) -> Shown:
        return {id: entry for id, entry in self.held.items() if entry[1] > self._server.clock()}

    def remembered(self) -> set[str]:
        """What it knows to be read."""
        return {id for id, until in self._read.items() if until > self._server.clock()}

    def listed_again(self) -> set[str]:
        """What is shown though it knows that it was read: to be acknowledged again."""
        return self.remembered() & self.shown().keys()

    async def acknowledge(self, ids: Collection[str]) -> None:
        """Raises `Refused`."""
        await self._server.acknowledge(ids)
        for id in ids:
            self._note_read(id)

    async def turn(self, limit: int) -> bool:
        """One request. Whether another one is of use."""
        try:
            page = await self._server.page(self._cursor, limit)
        except Refused as refusal:
            return self._refused(refusal.code)
        self._take(page)
        return bool(page["more"])

    async def catch_up(self, limit: int) -> None:
        for _ in range(MOST_TURNS):
            if not await self.turn(limit):
                return
        raise AssertionError("there is always more")

    async def leave(self, *, told: bool) -> None:
        """The server stops: the device hears so, or its connection is cut."""

    def _take(self, page: dict[str, Any]) -> None:
        if self._cursor is None:  # a list from the start: it takes the place of whatever was known
            assert "read" not in page
            self.held.clear()
        for entry in page["messages"]:
            assert entry["id"] == id_of(entry["message_id"])
            self.held[entry["id"]] = entry["message_id"], entry["expires"]
        for id in page.get("read", ()):
            self._note_read(id)
        self._cursor = page["cursor"]

    def _note_read(self, id: str) -> None:
        if id in self.held:
            _, self._read[id] = self.held.pop(id)

    def _refused(self, code: str) -> bool:
        assert code in ("cursor_gone", "no_inbox")
        assert code == "no_inbox" or self._cursor is not None, "a list from the start has no cursor to be gone"
        self._cursor = None
        if code == "no_inbox":
            self.held.clear()
        return code == "cursor_gone"


class Listener(Device):
    """One that follows the event stream. It reads an event at a turn, and keeps the stream open between them."""

    _stream: AsyncGenerator[bytes, None] | None = None

    async def turn(self, limit: int) -> bool:
        if self._stream is None:
            self._stream = self._server.events(self._cursor, limit)
        try:
            event = _parsed(await anext(self._stream))
        except Refused as refusal:
            self._stream = None
            return self._refused(refusal.code)
        if event.name == "state":
            self._take(event.data)
            assert event.id == self._cursor
        return await self._end(event.data["reason"]) if event.name == "end" else event.name == "state"

    async def leave(self, *, told: bool) -> None:
        while told and self._stream:
            await self.turn(1)
        if self._stream:
            await self._stream.aclose()
        self._stream = None

    async def _end(self, reason: str) -> bool:
        assert self._stream
        assert [event async for event in self._stream] == []
        self._stream = None
        return reason in ("token_expired", "stopping") or self._refused(reason)


def _parsed(event: bytes) -> Event:
    return parse_event(event.decode().removesuffix("\n\n").split("\n"))
