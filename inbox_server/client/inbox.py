"""One inbox server, as its clients call it."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.protocol import deliver_token, owner_token
from inbox_server.clock import Clock


class InboxRefused(Exception):
    """The server answered with a problem: its stable `code`, and the text for people."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Inbox:
    """`url` is the server's origin. `app` is the app's origin, and `key` the user's key for it."""

    session: aiohttp.ClientSession
    url: str
    app: str
    key: AppKey
    clock: Clock

    async def claim(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Claim the inbox or change its settings. Raises `InboxRefused`."""
        body = json.dumps(settings).encode()
        return await self._ask("PUT", "/v1/inbox", self._owner_token("settings", body), body)

    async def settings(self) -> dict[str, Any]:
        """The inbox's settings and state. Raises `InboxRefused`."""
        return await self._ask("GET", "/v1/inbox", self._owner_token("read"), None)

    async def deliver(self, message_id: str, *, sender: str, recipient: str) -> dict[str, Any]:
        """Deliver an encrypted message ID; repeating it is safe. Raises `InboxRefused`."""
        body = json.dumps({"message_id": message_id}).encode()
        token = deliver_token(
            self.key, body, sender=sender, recipient=recipient, app=self.app, inbox=self.url, now=self.clock()
        )
        return await self._ask("POST", "/v1/messages", token, body)

    async def unread(self, after: str | None = None) -> dict[str, Any]:
        """A page of the feed. Raises `InboxRefused`."""
        path = "/v1/messages" + (f"?after={after}" if after else "")
        return await self._ask("GET", path, self._owner_token("read"), None)

    async def acknowledge(self, ids: list[str]) -> None:
        """Say that these are read. Raises `InboxRefused`."""
        body = json.dumps({"ids": ids}).encode()
        await self._ask("POST", "/v1/messages/ack", self._owner_token("ack", body), body)

    async def forget(self) -> None:
        """Give the inbox up, with everything in it. Raises `InboxRefused`."""
        await self._ask("DELETE", "/v1/inbox", self._owner_token("settings"), None)

    def _owner_token(self, scope: str, body: bytes = b"") -> str:
        return owner_token(self.key, scope=scope, app=self.app, inbox=self.url, now=self.clock(), body=body)

    async def _ask(self, method: str, path: str, token: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
            content = await response.read()
            document: dict[str, Any] = json.loads(content) if content else {}
            if response.status >= 400:
                raise InboxRefused(
                    response.status, str(document.get("code", "")), str(document.get("detail", response.reason))
                )
            return document
