"""A Gaia bucket: written through a hub with a token of the bucket's key, read by anyone at its URL."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.http_sessions import read_bounded

_MAX_FILE_BYTES: Final = 1 << 20
_NOT_THERE: Final = (403, 404, 410)


class BucketFailed(Exception):
    """The hub or the bucket's host did not do it; the message says what."""


@dataclass(slots=True)
class Bucket:
    """`url` is the bucket's public URL and ends with a slash; `salt` is 16 random bytes for the hub's token."""

    session: aiohttp.ClientSession
    hub: str
    url: str
    key: AppKey
    salt: bytes = field(repr=False)
    _token: str = field(default="", repr=False)

    async def write(self, path: str, content: bytes, content_type: str = "application/json") -> str:
        """Store a file, over an older one if there is one; its public URL. Raises `BucketFailed`."""
        if not self._token:  # asked for late: reading needs no hub
            self._token = hub_token(await hub_info(self.session, self.hub), self.hub, self.key, self.salt)
        headers = {"Authorization": f"bearer v1:{self._token}", "Content-Type": content_type}
        url = f"{self.hub}/store/{self.key.address}/{path}"
        status, answer = await _ask(self.session, "POST", url, content, headers)
        if status != 202:
            self._token = ""  # the challenge may have changed
            raise BucketFailed(f"the hub {self.hub} answered {status} to storing {path}")
        try:
            return str(json.loads(answer)["publicURL"])
        except (ValueError, LookupError, TypeError):
            raise BucketFailed(f"the hub {self.hub} did not say where it stored {path}") from None

    async def read(self, path: str) -> bytes | None:
        """A file's content, or None when there is none. Raises `BucketFailed`."""
        status, content = await _ask(self.session, "GET", self.url + path, None, {})
        if status == 200:
            return content
        if status in _NOT_THERE:
            return None
        raise BucketFailed(f"the bucket's host answered {status} to reading {path}")


async def open_bucket(session: aiohttp.ClientSession, hub: str, key: AppKey, salt: bytes) -> Bucket:
    """The bucket of `key` at a hub, which tells where it can be read. Raises `BucketFailed`."""
    info = await hub_info(session, hub)
    return Bucket(session, hub, f"{info['read_url_prefix']}{key.address}/", key, salt, hub_token(info, hub, key, salt))


async def hub_info(session: aiohttp.ClientSession, hub: str) -> dict[str, Any]:
    """What a hub tells of itself: `challenge_text` and `read_url_prefix` at least. Raises `BucketFailed`."""
    status, answer = await _ask(session, "GET", f"{hub}/hub_info", None, {})
    try:
        info = json.loads(answer) if status == 200 else None
    except (ValueError, RecursionError):
        info = None
    members = ("challenge_text", "read_url_prefix")
    if not isinstance(info, dict) or not all(isinstance(info.get(member), str) for member in members):
        raise BucketFailed(f"{hub} is no Gaia hub: it answered {status} to hub_info")
    return info


def hub_token(info: dict[str, Any], hub: str, key: AppKey, salt: bytes) -> str:
    """A write key to the bucket, for its hub's eyes only."""
    claims = {"gaiaChallenge": info["challenge_text"], "hubUrl": hub, "iss": key.public, "salt": salt.hex()}
    return key.token(claims)


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, content: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    try:
        # A redirect would take the token elsewhere.
        async with session.request(method, url, data=content, headers=headers, allow_redirects=False) as response:
            return response.status, await read_bounded(response, _MAX_FILE_BYTES) if response.status < 300 else b""
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise BucketFailed(f"{url} cannot be reached ({type(error).__name__})") from None
