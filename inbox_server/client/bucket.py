"""A Gaia bucket: written through a hub with a token of the bucket's key, read by anyone at its URL."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from inbox_server.client.appkey import AppKey


class BucketFailed(Exception):
    """The hub or the bucket's host did not do it; the message says what."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """`url` is the bucket's public URL and ends with a slash."""

    session: aiohttp.ClientSession
    hub: str
    url: str
    address: str
    token: str

    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"

    async def write(self, path: str, content: bytes, content_type: str = "application/json") -> str:
        """Store a file, over an older one if there is one; its public URL. Raises `BucketFailed`."""
        headers = {"Authorization": f"bearer v1:{self.token}", "Content-Type": content_type}
        url = f"{self.hub}/store/{self.address}/{path}"
        async with self.session.post(url, data=content, headers=headers) as response:
            if response.status != 202:
                raise BucketFailed(f"the hub answered {response.status} to storing {path}")
            answer = await response.json()
            return str(answer["publicURL"])

    async def read(self, path: str) -> bytes | None:
        """A file's content, or None when there is none. Raises `BucketFailed`."""
        async with self.session.get(self.url + path) as response:
            if response.status == 200:
                return await response.read()
            if response.status in (403, 404):
                return None
            raise BucketFailed(f"the bucket's host answered {response.status} to reading {path}")


async def open_bucket(session: aiohttp.ClientSession, hub: str, key: AppKey, salt: bytes) -> Bucket:
    """The bucket of `key` at a hub. `salt` is 16 random bytes for the hub's token. Raises `BucketFailed`."""
    async with session.get(f"{hub}/hub_info") as response:
        if response.status != 200:
            raise BucketFailed(f"the hub answered {response.status} to hub_info")
        info: dict[str, Any] = json.loads(await response.read())
    claims = {"gaiaChallenge": info["challenge_text"], "hubUrl": hub, "iss": key.public, "salt": salt.hex()}
    return Bucket(session, hub, f"{info['read_url_prefix']}{key.address}/", key.address, key.token(claims))
