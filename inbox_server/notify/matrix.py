"""Notifications in a Matrix room: a bot of the operator's posts one constant line where an owner invited it.

The owner's invitation is the consent: the bot joins, and never invites. It posts `m.text`, because `m.notice` wakes
nobody, and only in rooms of two, because others are pushed with low priority. Source: Matrix client-server API, v1.11.
"""

import asyncio
import contextlib
import json
import logging
import math
import re
from typing import Any, Final
from urllib.parse import quote

from inbox_server.clock import DAY_SECONDS, Clock
from inbox_server.config.config import Config
from inbox_server.errors import Unavailable
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.lru import Lru
from inbox_server.notify.channel import TEXT, Address, Kind, Stopped
from inbox_server.outgoing.budget import Monotonic, Sleep
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable
from inbox_server.protocol.requests import bad_request, members_of, text_of

MAX_ROOM_CHARACTERS: Final = 255
_ROOM: Final = re.compile(rf"![!-~]{{1,{MAX_ROOM_CHARACTERS - 1}}}")
_EVENT: Final = {"msgtype": "m.text", "body": TEXT.decode()}  # another under the same transaction ID would be swallowed
_TWO: Final = 2
_TOO_LARGE: Final = "M_TOO_LARGE"  # also for an answer that we do not read, such as a list of a thousand members
_TRIES: Final = 3  # of one notification, when the home server says "not now"
_SHORTEST_REST_SECONDS: Final = 0.1
_REST_SECONDS: Final = 30  # when it does not say for how long
_LONGEST_REST_SECONDS: Final = 3600
_RETRY_SECONDS: Final = 60  # what an owner is told, when the home server fails
_MOST_LOOKED_AT: Final = 16_384
_OPERATORS_FAULTS: Final = frozenset(
    {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED"}
)

log = logging.getLogger(__name__)


class Refusal(Exception):
    """The home server understood, and does not do it: its `errcode`."""

    def __init__(self, errcode: str) -> None:
        super().__init__(errcode)
        self.errcode = errcode


class Limited(Exception):
    """The home server has had enough of the bot's requests of this kind for now, in whatever room."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class HomeServer:
    """The client-server API as the bot uses it. One token, so one device: transaction IDs belong to it."""

    def __init__(self, fetcher: Fetcher, url: str, token: str) -> None:
        self._fetcher = fetcher
        self._base = f"{url}/_matrix/client/v3"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.is_stopped = False
        """The bot's token is not accepted any more. Only the operator can help."""

    async def whoami(self) -> str:
        """The user ID to whom the token belongs. Raises as `ask`."""
        return str((await self.ask("GET", "account/whoami")).get("user_id"))

    async def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer. Raises `Refusal`, `Limited`, `Stopped`, or `Unreachable`."""
        if self.is_stopped:
            raise Stopped
        body = None if content is None else json.dumps(content).encode()
        answer = await self._fetcher.call(method, f"{self._base}/{path}", body, self._headers)
        try:
            said = {"errcode": _TOO_LARGE} if answer.body is None else _object(answer.body)
        except Unreachable:
            if answer.status != 429:  # a proxy's limit counts too
                raise
            said = {}
        errcode = said.get("errcode")
        if answer.status == 200 and not errcode:
            return said
        if answer.status == 429:
            raise Limited(_seconds(said.get("retry_after_ms"), answer.retry_after))
        if errcode in _OPERATORS_FAULTS:
            self.is_stopped = True
            log.error("matrix: the home server refuses the bot (%s): it stops until a restart; see doctor", errcode)
            raise Stopped
        if not isinstance(errcode, str):
            raise Unreachable
        raise Refusal(errcode)


def _seconds(milliseconds: Any, retry_after: int | None) -> float:
    """How long to rest; newer versions of the specification have the header only."""
    wait = milliseconds / 1000 if type(milliseconds) is int else _REST_SECONDS if retry_after is None else retry_after
    return min(max(wait, _SHORTEST_REST_SECONDS), _LONGEST_REST_SECONDS)


def _object(body: bytes) -> dict[str, Any]:
    """Raises `Unreachable`: this is a proxy's answer, not Matrix'."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Unreachable
    return said


class Matrix:
    """Implements `channel.OwnerChannel`. An address is a room's ID, and has no keys."""

    kind: Final = Kind(
        name="matrix",
        feature="matrix",
        member="room",
        most=1,
        where_characters=MAX_ROOM_CHARACTERS,
        keys_bytes=0,
        at_once=1,  # the limit is the bot's, so one queue for it
    )

    def __init__(
        self,
        home: HomeServer,
        config: Config,
        hashes: KeyedHash,
        *,
        clock: Clock,
        monotonic: Monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._home = home
        self._config = config
        self._hashes = hashes
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._joins_at = self._posts_at = 0.0
        """When the home server takes the next one again. The limits are apart, so that joining holds up no line."""
        self._looked: Lru[str, float] = Lru(_MOST_LOOKED_AT)

    def capability(self) -> dict[str, Any]:
        return {"user_id": self._config.matrix_user_id}

    def parse(self, body: bytes) -> Address:
        members = members_of(body, {"room"})
        room = text_of(members, "room") if "room" in members else ""
        if not _ROOM.fullmatch(room):
            raise bad_request("room", "must be the room's ID as its settings show it: `!` and what follows")
        return Address(room)

    async def admit(self, address: Address) -> None:
        """Join the room, which must be one of two. Raises `Refused` or `Unavailable`."""
        room, bot = address.where, self._config.matrix_user_id
        if self._joins_at > self._monotonic():
            raise self._unavailable()
        try:
            await self._home.ask("POST", f"join/{quote(room, safe='')}", {})
            if await self._is_of_two(room):
                return
        except Refusal as refusal:
            if refusal.errcode != _TOO_LARGE:
                raise bad_request("room", _why_not_joined(refusal.errcode, bot)) from None
        except (Unreachable, Limited, Stopped) as error:
            if isinstance(error, Limited):
                self._joins_at = self._monotonic() + error.seconds
            raise self._unavailable() from None
        await self._leave(room)
        raise bad_request("room", f"must have two members, you and {bot}: start a direct chat with it")

    def service(self, address: Address) -> str:  # noqa: ARG002 — every room is told by the one bot
        return self._config.matrix_user_id.partition(":")[2]

    async def tell(self, address: Address) -> None:
        for _ in range(_TRIES):
            if (rest := self._posts_at - self._monotonic()) > 0:
                await self._sleep(rest)
            try:
                return await self._tell(address.where)
            except Limited as limit:
                self._posts_at = self._monotonic() + limit.seconds
            except Refusal as refusal:
                raise (Absent if refusal.errcode == "M_FORBIDDEN" else Unreachable) from None
        raise Unreachable

    async def _tell(self, room: str) -> None:
        """Post, and look at the room before that once a day: the home server takes lines that nobody will see."""
        now = self._monotonic()
        looked = self._looked.get(room)
        if looked is None or now - looked >= DAY_SECONDS:
            if not await self._is_of_two(room):
                await self._leave(room)
                raise Absent
            self._looked.keep(room, now)
        slot = self._clock() // self._config.hint_pause_seconds
        path = f"rooms/{quote(room, safe='')}/send/m.room.message/{self._hashes.transaction(room, slot)}"
        await self._home.ask("PUT", path, _EVENT)

    async def _is_of_two(self, room: str) -> bool:
        joined = (await self._home.ask("GET", f"rooms/{quote(room, safe='')}/joined_members")).get("joined")
        if not isinstance(joined, dict):
            raise Unreachable
        return len(joined) == _TWO

    async def _leave(self, room: str) -> None:
        self._looked.drop(room)
        with contextlib.suppress(Refusal, Unreachable, Limited, Stopped):  # it only tidies up
            await self._home.ask("POST", f"rooms/{quote(room, safe='')}/leave", {})

    def _unavailable(self) -> Unavailable:
        rest = math.ceil(self._joins_at - self._monotonic())
        wait = _LONGEST_REST_SECONDS if self._home.is_stopped else rest if rest > 0 else _RETRY_SECONDS
        why = "does not know the server's bot; tell its operator" if self._home.is_stopped else "cannot be asked now"
        return Unavailable("channel_unavailable", f"The Matrix home server {why}.", retry_after=wait)


def _why_not_joined(errcode: str, bot: str) -> str:
    if errcode == "M_FORBIDDEN":
        return f"is one to which {bot} is not invited: invite it, and repeat this"
    if errcode == "M_BAD_STATE":
        return f"is one from which {bot} is banned: start a direct chat with it, and send the ID of that room"
    return f"is not known to {bot}'s home server: invite it first, and check the ID"
