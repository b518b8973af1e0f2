"""What an operator may ask of a store, by name, with JSON in and JSON out: of a running server, or of the store itself.

Who asks has made keyed hashes of addresses and codes before: none of these is sent.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from inbox_server.clock import Clock
from inbox_server.errors import Refused
from inbox_server.store.operating import Operating

Asked = Mapping[str, Any]
"""The members of a request."""

_HASH: Final = re.compile(r"[0-9a-f]{32}")


class OperatorCommands:
    """Runs them on a store. Invites expire by `clock`."""

    def __init__(self, operating: Operating, clock: Clock) -> None:
        self._operating = operating
        self._clock = clock
        self._by_name: Final = {
            "inboxes": self._inboxes,
            "inbox": self._inbox,
            "suspend": self._suspend,
            "resume": self._resume,
            "forget": self._forget,
            "quota": self._quota,
            "invites": self._invites,
            "revoke-invite": self._revoke_invite,
            "drain": self._drain,
            "vacuum": self._vacuum,
        }

    def __contains__(self, command: str) -> bool:
        return command in self._by_name

    async def run(self, command: str, asked: Asked) -> dict[str, Any]:
        """What became of it. Raises `Refused` or `Unavailable`."""
        if command not in self:
            raise Refused("not_found", "This server has no such operator's command.")
        return await self._by_name[command](asked)

    async def _inboxes(self, _: Asked) -> dict[str, Any]:
        overview = asdict(await self._operating.overview())
        return {**overview, "classes": list(overview["classes"]), "draining": self._operating.draining}

    async def _inbox(self, asked: Asked) -> dict[str, Any]:
        return asdict(await self._operating.look_up(_hash(asked)))

    async def _suspend(self, asked: Asked) -> dict[str, Any]:
        return {"changed": await self._operating.suspend(_hash(asked)), **await self._inbox(asked)}

    async def _resume(self, asked: Asked) -> dict[str, Any]:
        return {"changed": await self._operating.resume(_hash(asked)), **await self._inbox(asked)}

    async def _forget(self, asked: Asked) -> dict[str, Any]:
        return {"deleted": await self._operating.drop(_hash(asked))}

    async def _quota(self, asked: Asked) -> dict[str, Any]:
        changed = await self._operating.set_quota(_hash(asked), _whole(asked, "entries"), _whole(asked, "bytes"))
        return {"changed": changed}

    async def _invites(self, _: Asked) -> dict[str, Any]:
        invites = await self._operating.invites(self._clock())
        return {"invites": [{"code": each.code.hex(), "expires": each.expires} for each in invites]}

    async def _revoke_invite(self, asked: Asked) -> dict[str, Any]:
        return {"found": await self._operating.revoke_invite(str(asked.get("handle")))}

    async def _drain(self, asked: Asked) -> dict[str, Any]:
        return {"changed": await self._operating.drain(on=asked.get("on") is True)}

    async def _vacuum(self, _: Asked) -> dict[str, Any]:
        return {"freed_bytes": await self._operating.vacuum()}


def _hash(asked: Asked) -> bytes:
    text = asked.get("inbox")
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        raise Refused("bad_request", "`inbox` is not a keyed hash in hex.", member="inbox")
    return bytes.fromhex(text)


def _whole(asked: Asked, member: str) -> int | None:
    number = asked.get(member)
    if number is not None and (type(number) is not int or number < 0):
        raise Refused("bad_request", f"`{member}` is not a whole number.", member=member)
    return number
