"""Alice's app at the local world's hub, saying exactly what a test wants said."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inbox_server.client.appkey import AppKey
from inbox_server.world.hub import CHALLENGE
from inbox_server.world.local_world import World

CONTENT = b"hello"
ETAG = hashlib.md5(CONTENT).hexdigest()
ALICE, MALLORY = AppKey(bytes(range(1, 33))), AppKey(bytes(range(2, 34)))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Writer:
    """Alice's app, who says to the hub exactly what a test wants said."""

    world: World
    key: AppKey = ALICE

    def bearer(self, **claims: Any) -> str:
        said = {"gaiaChallenge": CHALLENGE, "hubUrl": self.world.hub_url, "iss": self.key.public, **claims}
        return f"bearer v1:{self.key.token(said)}"

    async def ask(self, method: str, path: str, data: Any = None, **headers: str) -> Answer:
        """Ask the hub, with a good token unless `Authorization` is among the headers."""
        headers = {"Authorization": self.bearer()} | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.get(self.world.hub_url + path, method, data, headers)

    async def get(
        self, url: str, method: str = "GET", data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with self.world.session.request(method, url, data=data, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def store(self, path: str, content: Any = CONTENT, **headers: str) -> Answer:
        return await self.ask("POST", f"/store/{ALICE.address}/{path}", content, **headers)

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.ask("DELETE", f"/delete/{ALICE.address}/{path}", **headers)

    async def list(self, **asked: Any) -> Any:
        answer = await self.ask("POST", f"/list-files/{ALICE.address}", json.dumps(asked))
        assert answer.status == 202
        return answer.document

    async def read(self, path: str, method: str = "GET", **headers: str) -> Answer:
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.get(f"{self.world.read_url}{ALICE.address}/{path}", method, headers=headers)


def assert_refused(answer: Answer, status: int, error: str, **more: str) -> None:
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    document = answer.document
    assert document.pop("message")
    assert document == {"error": error, **more}
