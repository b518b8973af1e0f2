"""A server over HTTP and the model of it, asked the same: whoever differs is caught here, whatever a test asks.

Compared are status and code, ids and expiries, what is listed and read and in which order, whether there is more, and
counts. A cursor is opaque, so it is kept with what it means to the model, and with what its device knows.
"""

import asyncio
import contextlib
import functools
import hashlib
import itertools
import json
import math
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import TOKEN_SECONDS, deliver_token, owner_token
from inbox_server.clock import UnixTime
from inbox_server.config.file import parse_config
from inbox_server.http.listening import listening
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.signed import read_signed
from inbox_server.server import open_app
from inbox_server.store.contract import Store
from inbox_server.store.sqlite.backup import back_up, restore
from tests.conftest import APP, HandClock
from tests.support.api_inbox import DAY, HOUR, Answer, Change, Delivery, Inbox, Limits, Place, id_of, refusal
from tests.support.api_model import Model
from tests.support.requests import SECRET, Caller, check_problem

T = TypeVar("T")

LIMITS: Final = Limits(entries=4, bytes=1024, default_retention=2 * DAY, max_retention=3 * DAY)
OWNERS: Final = ("bob", "carol")
PEOPLE: Final = ("alice", "mallory", *OWNERS)
KEYS: Final = {person: AppKey(hashlib.sha256(person.encode()).digest()) for person in PEOPLE}
RECEIPT_KEY: Final = SigningKey.from_seed(KeyedHash(SECRET).receipt_seed()).public
WHOLE: Final = 1000  # entries on a page that holds all


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup, and what the model has for it."""

    path: Path
    inboxes: dict[str, Inbox]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A cursor of a device, what it means, the entries that the device knows by id, and whether there was more.

    `issued` is when the token was signed that the device asked with.
    """

    owner: str
    cursor: str
    place: Place
    held: dict[str, dict[str, Any]]
    more: bool
    issued: int


class Twins:
    """Both at the same time by one clock, which is moved by `wait`. Each request is asserted to be answered alike."""

    def __init__(self, folder: Path, bound: socket.socket, store: Mapping[str, str]) -> None:
        """`store` is that section of the server's configuration."""
        self.clock = HandClock()
        self._store_section = dict(store)
        self.model = Model(LIMITS, self.clock())
        self.written = 0
        """Requests since the server opened that may have written."""
        self._folder = folder
        self._data = folder / "data"
        self._bound = bound
        self._drawn = itertools.count()
        self._copies = itertools.count()
        self._runner = asyncio.Runner()
        self._server = contextlib.AsyncExitStack()

    def open(self) -> None:
        opening = _serving(self._data, self._bound, self.clock, self._random_bytes, self._store_section)
        self._caller, self._store = self._run(self._server.enter_async_context(opening))
        self.written = 0

    def close(self) -> None:
        self._run(self._server.aclose())
        self._runner.close()

    def restart(self) -> None:
        self._run(self._server.aclose())
        self.open()
        self.model.restart()

    def back_up(self, *, settings_only: bool) -> Copy:
        """Beside the running server."""
        path = self._folder / f"copy {next(self._copies)}"
        back_up(self._data, path, check_value=KeyedHash(SECRET).check_value(), settings_only=settings_only)
        return Copy(path, self.model.back_up(settings_only=settings_only))

    def restore(self, copy: Copy) -> None:
        """In place of what the server has, which is stopped meanwhile."""
        self._run(self._server.aclose())
        shutil.rmtree(self._data)
        check_value = KeyedHash(SECRET).check_value()
        restore(self._data, copy.path, check_value=check_value, random_bytes=self._random_bytes, now=self.clock())
        self.open()
        self.model.restore(copy.inboxes)

    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds

    def sweep(self) -> None:
        self._run(self._store.sweep(self.clock()))
        self.model.sweep()

    def deliver(self, asked: Delivery, token: str | None = None) -> str:
        """With a fresh token unless one is given; the token. The recipient goes by key or by address."""
        body = json.dumps({"message_id": asked.text} | ({} if asked.ttl is None else {"ttl": asked.ttl})).encode()
        sender, owner = KEYS[asked.sender], KEYS[asked.owner]
        token = token or deliver_token(
            sender,
            body,
            sender=sender.public,
            recipient=owner.address if asked.ttl is None else owner.public,
            app=asked.app,
            inbox=self._caller.url,
            now=UnixTime(asked.issued),
        )
        _agree(self._ask("POST", "/v1/messages", token, body), self.model.deliver(asked))
        return token

    def change(self, asked: Change, token: str | None = None) -> str:
        """Settings, a claim, or giving up, with a fresh token unless one is given; the token."""
        method, body = ("DELETE", b"") if asked.settings is None else ("PUT", _addressed(asked.settings))
        token = token or _signed(asked.owner, "settings", asked.app, self._caller.url, asked.issued, body)
        _agree(self._ask(method, "/v1/inbox", token, body), self.model.change(asked))
        return token

    def acknowledge(self, owner: str, texts: list[str]) -> None:
        body = json.dumps({"ids": [id_of(text) for text in texts]}).encode()
        token = _signed(owner, "ack", APP, self._caller.url, self.clock(), body)
        answer = self._ask("POST", "/v1/messages/ack", token, body)
        _agree(answer, self.model.acknowledge(owner, texts))

    def settings(self, owner: str) -> None:
        _agree(self._ask("GET", "/v1/inbox", self._read_token(owner, self.clock())), self.model.settings(owner))

    def log(self, owner: str, limit: int) -> None:
        """The whole log in pages: signed for each nonce, a chain from its base to its head, and as the model has it."""
        entries: list[LogEntry] = []
        while True:
            nonce, after = encode(next(self._drawn).to_bytes(16, "big")), entries[-1].n if entries else 0
            path = f"/v1/inbox/log?nonce={nonce}&after={after}&limit={limit}"
            status, document = self._ask("GET", path, self._read_token(owner, self.clock()))
            expected = self.model.log(owner)
            if expected is None:
                _agree((status, document), refusal("no_inbox"))
                return
            claims = read_signed(document["signed"], RECEIPT_KEY, HEAD_TYPE)
            same = {name: document[name] for name in ("base", "head")} | {"nonce": nonce, "iat": self.clock()}
            assert claims.items() >= same.items()
            entries += [LogEntry(entry["n"], decode(entry["id"])) for entry in document["entries"]]
            if not document["more"]:
                break
        base, head = (LogPoint(claims[name]["n"], decode(claims[name]["head"])) for name in ("base", "head"))
        assert fold(base, entries) == head
        said = [encode(entry.id) for entry in entries], claims.get("restored")
        assert said == expected, f"the log of the server says {said}, the model {expected}"

    def turn(self, owner: str, device: Bookmark | None, limit: int, issued: int | None = None) -> Bookmark | None:
        """The device with one more page of this owner's, or a new one that lists; None when there is no page.

        At the end of the pages it must know what a new one would be shown. `issued` is when its token was signed.
        """
        issued = self.clock() // HOUR * HOUR if issued is None else issued
        query = f"limit={limit}" + (f"&after={device.cursor}" if device else "")
        status, document = self._ask("GET", f"/v1/messages?{query}", self._read_token(owner, issued))
        cursor = document.pop("cursor", None)
        expected, place = self.model.page(owner, device.place if device else None, limit, issued)
        _agree((status, document), expected)
        if place is None:
            return None
        assert isinstance(cursor, str)
        held = dict(device.held) if device else {}
        held |= {entry["id"]: entry for entry in document["messages"]}
        for id in document.get("read", ()):
            held.pop(id, None)
        if not document["more"]:
            self._check_knows_all(owner, held)
        return Bookmark(owner, cursor, place, held, document["more"], issued)

    def _random_bytes(self, size: int) -> bytes:
        """They never repeat, but hardly differ, so that a cursor of another inbox or time looks likely."""
        return next(self._drawn).to_bytes(size, "big")

    def _check_knows_all(self, owner: str, held: dict[str, dict[str, Any]]) -> None:
        (_, whole), _ = self.model.page(owner, None, WHOLE, self.clock())
        unexpired = {id: entry for id, entry in held.items() if entry["expires"] > self.clock()}
        listed = {entry["id"]: entry for entry in whole["messages"]}
        assert unexpired == listed, f"the device knows {unexpired}, a new one would {listed}"

    def _ask(self, method: str, path: str, token: str, body: bytes | None = None) -> Answer:
        """The answer, of a refusal only what a program may act on."""
        self.written += method != "GET"
        answer = self._run(self._caller.send(method, path, body, token=token))
        document = answer.json() if answer.body else {}
        if answer.status >= 400:
            check_problem(answer, document["code"], document.get("member"))
            document = {name: document[name] for name in ("code", "member", "now") if name in document}
        return answer.status, document

    def _read_token(self, owner: str, issued: int) -> str:
        """As a device polls with it for an hour."""
        return _signed(owner, "read", APP, self._caller.url, issued, b"", HOUR)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def _agree(server: Answer, model: Answer) -> None:
    assert server == model, f"the server says {server}, the model {model}"


def _addressed(settings: dict[str, Any]) -> bytes:
    """The body for these settings: people are addresses there."""
    addressed = {
        name: [KEYS[person].address for person in value] if isinstance(value, list) else value
        for name, value in settings.items()
    }
    return json.dumps(addressed, sort_keys=True).encode()


@functools.lru_cache
def _signed(
    owner: str, scope: str, app: str, inbox: str, issued: int, body: bytes, seconds: int = TOKEN_SECONDS
) -> str:
    return owner_token(KEYS[owner], scope=scope, app=app, inbox=inbox, now=UnixTime(issued), body=body, seconds=seconds)


@contextlib.asynccontextmanager
async def _serving(
    data: Path, bound: socket.socket, clock: HandClock, random_bytes: Callable[[int], bytes], section: dict[str, str]
) -> AsyncIterator[tuple[Caller, Store]]:
    """The server on this data, and a caller. It takes every key, as often as it likes.

    It sweeps when it opens, and later only when it is told to.
    """
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    config = parse_config(
        {
            "server": {"public_url": url, "data_dir": str(data), "admin_listen": ""},
            "store": section,
            "names": {"services": []},
            "registration": {"mode": "open", "open_to_keys": True, "open_per_hour": 1_000_000},
            "limits": {
                "default_retention_seconds": LIMITS.default_retention,
                "max_retention_seconds": LIMITS.max_retention,
                "inbox_entries": LIMITS.entries,
                "inbox_bytes": LIMITS.bytes,
                **dict.fromkeys(("sender_per_hour", "inbox_per_hour", "network_per_hour"), 0),
            },
        },
        data.parent,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inbox_server.inboxes.sweeping.SWEEP_SECONDS", math.inf)
        async with (
            open_app(config, SECRET, clock=clock, random_bytes=random_bytes) as (app, store),
            listening(app, bound.dup()),
            aiohttp.ClientSession() as session,
        ):
            await store.sweep(clock())  # the server has begun to do the same
            yield Caller(session, url, KEYS["alice"], clock), store
