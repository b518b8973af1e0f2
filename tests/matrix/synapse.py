"""A real Matrix home server on loopback, with accounts, and the server that its pushes for phones go to."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from tests.support.serving import free_port, on_loopback

PYTHON: Final = Path(__file__).parent.parent.parent / ".venv" / "synapse" / "bin" / "python"
DOMAIN: Final = "matrix.example"
PATIENCE_SECONDS: Final = 30
_SHARED_SECRET: Final = "of this test only"
_CONFIG: Final = """
server_name: {domain}
pid_file: {folder}/pid
signing_key_path: {folder}/signing.key
media_store_path: {folder}/media
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, resources: [{{names: [client]}}]}}
database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}
log_config: {folder}/log.yaml
registration_shared_secret: "{secret}"
macaroon_secret_key: "{secret}"
trusted_key_servers: []
report_stats: false
rc_room_creation: {{per_second: 1000, burst_count: 1000}}  # owners come one by one, but not in a test
rc_joins: {{local: {{per_second: 1000, burst_count: 1000}}}}
rc_invites: {{per_room: &many {{per_second: 1000, burst_count: 1000}}, per_user: *many, per_issuer: *many}}
ip_range_blacklist: []  # or the phones' push server could not be on loopback
"""
_LOG: Final = """
version: 1
handlers: {{file: {{class: logging.FileHandler, filename: {folder}/log}}}}
loggers: {{synapse.access: {{level: INFO}}}}
root: {{level: WARNING, handlers: [file]}}
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody's account, and a device of theirs."""

    user_id: str
    token: str = field(repr=False)


class Process:
    """One home server's process, which may be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        config = _CONFIG.format(domain=DOMAIN, folder=folder, port=self.port, secret=_SHARED_SECRET)
        (folder / "homeserver.yaml").write_text(config)
        (folder / "log.yaml").write_text(_LOG.format(folder=folder))
        (folder / "signing.key").write_text(f"ed25519 a_test {'A' * 42}E\n")
        self._running: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """If it does not run."""
        if self._running is None or self._running.poll() is not None:
            config = self.folder / "homeserver.yaml"
            command = (PYTHON, "-m", "synapse.app.homeserver", "--config-path", config)
            self._running = subprocess.Popen(command, cwd=self.folder)

    def kill(self) -> None:
        if self._running:
            self._running.kill()
            self._running.wait()

    def log(self) -> str:
        """A line for each request, with its status."""
        return (self.folder / "log").read_text()


@dataclass(slots=True)
class Synapse:
    """The home server as its operator and its users see it."""

    process: Process
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    async def start(self) -> None:
        self.process.launch()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._answers():  # noqa: ASYNC110 — another process tells nobody when it is up
                await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with self.session.get(f"{self.url}/_matrix/client/versions") as answer:
                return answer.status == 200
        return False

    async def account(self, name: str, *, admin: bool = False) -> Account:
        """A new one, by the secret that the home server's operator has."""
        path = "/_synapse/admin/v1/register"
        name = f"{name}-{secrets.token_hex(4)}"  # each test has people of its own
        nonce = (await self.ask(None, "GET", path))["nonce"]
        password, kind = secrets.token_hex(), "admin" if admin else "notadmin"
        signed = "\0".join((nonce, name, password, kind)).encode()
        mac = hmac.digest(_SHARED_SECRET.encode(), signed, hashlib.sha1).hex()
        asked = {"nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac}
        made = await self.ask(None, "POST", path, asked)
        return Account(made["user_id"], made["access_token"])

    async def ask(self, account: Account | None, method: str, path: str, content: Any = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {account.token}"} if account else {}
        async with self.session.request(method, self.url + path, json=content, headers=headers) as answer:
            said: dict[str, Any] = await answer.json()
            assert answer.status == 200, said
            return said

    async def client(self, account: Account, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """A request as the account's client makes it."""
        return await self.ask(account, method, f"/_matrix/client/v3/{path}", content)

    async def chat(self, owner: Account, *others: Account, **more: Any) -> str:
        """A direct chat, as clients start one; the others are invited."""
        asked = {"preset": "trusted_private_chat", "is_direct": True, "invite": [each.user_id for each in others]}
        room: str = (await self.client(owner, "POST", "createRoom", {**asked, **more}))["room_id"]
        return room

    async def join(self, account: Account, room: str) -> None:
        await self.client(account, "POST", f"join/{quote(room)}", {})

    async def lines(self, owner: Account, room: str) -> list[tuple[str, str]]:
        """What was posted in a room, as the owner's client shows it: who and what."""
        found = await self.client(owner, "GET", f"rooms/{quote(room)}/messages?dir=b&limit=100")
        shown = [each for each in found["chunk"] if each["type"] == "m.room.message"]
        return [(each["sender"], each["content"]["body"]) for each in reversed(shown)]


def need_synapse() -> None:
    """Skip the test on a user's machine, and fail it in CI, where there is none."""
    if not PYTHON.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Synapse: make matrix installs it")
        pytest.skip("there is no Synapse: make matrix installs it")


@dataclass(slots=True)
class Phones:
    """The push server of phones: what it was told to show, by the phones' keys."""

    url: str = ""
    told: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def notify(self, request: web.Request) -> web.Response:
        notification = (await request.json())["notification"]
        for device in notification["devices"]:
            self.told.setdefault(device["pushkey"], []).append(notification)
        async with self._arrived:
            self._arrived.notify_all()
        return web.json_response({"rejected": []})

    async def of(self, account: Account, synapse: Synapse) -> None:
        """Give the account a phone."""
        pusher = {
            "kind": "http",
            "app_id": "example.phone",
            "app_display_name": "A phone",
            "device_display_name": "A phone",
            "lang": "en",
            "pushkey": account.user_id,
            "data": {"url": f"{self.url}/_matrix/push/v1/notify", "format": "event_id_only"},
        }
        await synapse.client(account, "POST", "pushers/set", pusher)

    async def shown(self, account: Account, count: int) -> list[str]:
        """The priorities of what the phone was told, once it is so much. An update of the count of unread has none."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.of_events(account)) >= count)
        return [each.get("prio", "high") for each in self.of_events(account)]

    def of_events(self, account: Account) -> list[Mapping[str, Any]]:
        return [each for each in self.told.get(account.user_id, []) if "event_id" in each]


@contextlib.asynccontextmanager
async def running_phones() -> AsyncIterator[Phones]:
    phones, app = Phones(), web.Application()
    app.router.add_post("/_matrix/push/v1/notify", phones.notify)
    async with on_loopback(app) as phones.url:
        yield phones
