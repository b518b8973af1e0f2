"""A Gaia bucket: a hub writes it for a token of the bucket's key, and anyone can read it at its URL."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.http_sessions import Answer, ask, seconds_of
from inbox_server.clock import Clock, UnixTime, system_clock
from inbox_server.outgoing.failures import why

_MAX_FILE_BYTES: Final = 1 << 20
_NOT_THERE: Final = (403, 404, 410)
_TOKEN_SECONDS: Final = 600  # a token that somebody finds later is useless
_RENEW_SECONDS: Final = 60
_BUSY: Final = (409, 429, 503)  # another write to the same file is under way, or there are too many
_MOST_PATIENCE_SECONDS: Final = 10
_WORDS_CHARACTERS: Final = 200


class BucketFailed(Exception):
    """The hub or the bucket's host failed or refused; the message says how."""


@dataclass(slots=True)
class Bucket:
    """`url` is the bucket's public URL and ends with a slash; `salt` is 16 random bytes for the hub's tokens.

    `association` is the token that a private hub also requires: in it, one of the hub's users vouches for this bucket.
    """

    session: aiohttp.ClientSession
    hub: str
    url: str
    key: AppKey
    salt: bytes = field(repr=False)
    association: str | None = field(default=None, repr=False)
    clock: Clock = system_clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _token: str = field(default="", repr=False)
    _made: int = 0
    _skew: int = 0
    """By how many seconds the hub's clock is ahead of this machine's."""

    async def write(self, path: str, content: bytes, content_type: str = "application/json") -> str:
        """Store a file, replacing an older one; returns its public URL. Raises `BucketFailed`."""
        return self._stored(await self._store(path, content, {"Content-Type": content_type}), path)

    async def create(self, path: str, content: bytes, content_type: str = "application/json") -> bool:
        """Store a file unless one exists; returns whether it was stored. Raises `BucketFailed`.

        This reads nothing, because a host's cache would remember for a while that there is no such file.
        """
        answer = await self._store(path, content, {"Content-Type": content_type, "If-None-Match": "*"})
        return answer.status != 412 and bool(self._stored(answer, path))

    async def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """Store a file if it is still the one with this tag, or with None if there is none; returns the new tag.

        None if it is another: read it, and try again. Raises `BucketFailed`.
        """
        condition = {"If-None-Match": "*"} if tag is None else {"If-Match": tag}
        answer = await self._store(path, content, {"Content-Type": "application/json", **condition})
        if answer.status == 412:
            return None
        self._stored(answer, path)
        new = json.loads(answer.body).get("etag")
        return new if isinstance(new, str) else ""

    async def read(self, path: str) -> bytes | None:
        """A file's content, or None when there is none. Raises `BucketFailed`."""
        content, _ = await self.read_tagged(path)
        return content

    async def read_tagged(self, path: str, most: int = _MAX_FILE_BYTES) -> tuple[bytes | None, str | None]:
        """A file's content and tag, or None and None when there is none. Raises `BucketFailed`."""
        answer = await _ask(self.session, "GET", self.url + path, {}, most=most)
        if answer.status == 200:
            return answer.body, answer.headers.get("ETag", "")
        if answer.status in _NOT_THERE:
            return None, None
        raise BucketFailed(f"the bucket's host answered {answer.status} to reading {path}")

    async def _store(self, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """The hub's answer. Asks once more if that can help: with a new token, or after the pause that it asks for."""
        url = f"{self.hub}/store/{self.key.address}/{path}"
        is_renewed = is_repeated = False
        while True:
            token = {"Authorization": f"bearer v1:{await self._valid_token()}"}
            answer = await _ask(self.session, "POST", url, {**headers, **token}, content)
            pause = seconds_of(answer.headers.get("Retry-After", "1"))
            if answer.status == 401 and not is_renewed:  # the challenge may have changed, or a clock is wrong
                self._token, self._skew, is_renewed = "", _hub_time(answer, self.clock()) - self.clock(), True
            elif answer.status in _BUSY and not is_repeated and pause is not None and pause <= _MOST_PATIENCE_SECONDS:
                is_repeated = True
                await self.sleep(pause)
            else:
                return answer

    async def _valid_token(self) -> str:
        """Fetched only when needed, because reading needs no hub."""
        now = self.clock()
        if not self._token or not 0 <= now - self._made < _TOKEN_SECONDS - _RENEW_SECONDS:
            info = await hub_info(self.session, self.hub)
            self._token, self._made = self._sign(info["challenge_text"], UnixTime(now + self._skew)), now
        return self._token

    def _sign(self, challenge: str, now: UnixTime) -> str:
        """A token that allows writing to the bucket. Only its hub may see it."""
        claims: dict[str, Any] = {"gaiaChallenge": challenge, "hubUrl": self.hub, "iss": self.key.public}
        claims |= {"salt": self.salt.hex(), "iat": now, "exp": now + _TOKEN_SECONDS}
        return self.key.token(claims | ({"associationToken": self.association} if self.association else {}))

    def _stored(self, answer: Answer, path: str) -> str:
        """The file's public URL. Raises `BucketFailed`."""
        if answer.status != 202:
            words = _words(answer, *filter(None, (self._token, self.association)))
            how = " without an association token" if answer.status == 401 and not self.association else ""
            self._token = ""
            raise BucketFailed(f"the hub {self.hub} answered {answer.status} to storing {path}{how}: {words}")
        try:
            return str(json.loads(answer.body)["publicURL"])
        except (ValueError, LookupError, TypeError):
            raise BucketFailed(f"the hub {self.hub} did not say where it stored {path}") from None


async def open_bucket(
    session: aiohttp.ClientSession,
    hub: str,
    key: AppKey,
    salt: bytes,
    *,
    association: str | None = None,
    clock: Clock = system_clock,
) -> Bucket:
    """The bucket of `key` at a hub. The hub says where it can be read. Raises `BucketFailed`."""
    info = await hub_info(session, hub)
    return Bucket(session, hub, f"{info['read_url_prefix']}{key.address}/", key, salt, association, clock)


async def hub_info(session: aiohttp.ClientSession, hub: str) -> dict[str, Any]:
    """What a hub says about itself: `challenge_text` and `read_url_prefix` at least. Raises `BucketFailed`."""
    answer = await _ask(session, "GET", f"{hub}/hub_info", {})
    try:
        info = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        info = None
    members = ("challenge_text", "read_url_prefix")
    if not isinstance(info, dict) or not all(isinstance(info.get(member), str) for member in members):
        raise BucketFailed(f"{hub} is not a Gaia hub, or is not working: it answered {answer.status} to hub_info")
    return info


def _words(answer: Answer, *secrets: str) -> str:
    """The hub's text for people, as one short line that is safe on a terminal; without one, what its status means."""
    try:
        message = json.loads(answer.body)["message"]
    except (ValueError, RecursionError, LookupError, TypeError):
        message = answer.body.decode(errors="replace") if answer.content_type == "text/plain" else ""
    line = " ".join(str(message).split())
    for secret in secrets:
        line = line.replace(secret, "(token)")
    words = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    known = {status.value: status.phrase for status in HTTPStatus}
    return words[:_WORDS_CHARACTERS] or known.get(answer.status, "it did not say why")


def _hub_time(answer: Answer, here: UnixTime) -> UnixTime:
    try:
        return UnixTime(int(parsedate_to_datetime(answer.headers["Date"]).timestamp()))
    except (LookupError, ValueError, TypeError):
        return here


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    content: bytes | None = None,
    *,
    most: int = _MAX_FILE_BYTES,
) -> Answer:
    try:
        return await ask(session, method, url, most=most, headers=headers, content=content)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise BucketFailed(f"{url} {why(error)}") from None
