"""Tickets for deliveries under load: an owner's sheets, sent again and again while servers come and go."""

import asyncio
import json
from collections import deque
from random import Random
from typing import Final

from inbox_server.client.tickets import id_of, week_of
from inbox_server.protocol.base64url import encode
from tests.support.requests import Answer, Caller
from tests.support.sealed import put_body

_SHEET_TICKETS: Final = 1024
_FEW_TICKETS: Final = 64  # then the owner sends another sheet


class Tickets:
    """An owner's, of one inbox: those that may be used, and those that were used last."""

    def __init__(self) -> None:
        self.spent: deque[bytes] = deque(maxlen=_FEW_TICKETS)
        self._free: list[bytes] = []
        self._under_way: set[bytes] = set()
        self._fresh: list[bytes] = []
        """On a sheet that may have arrived or not: the next one has them, too."""
        self._giving = asyncio.Lock()

    async def give(self, owner: Caller, random: Random) -> Answer | None:
        """Send another sheet when few are left. It keeps those that are under way: their deliveries are repeated."""
        async with self._giving:
            if len(self._free) >= _FEW_TICKETS:
                return None
            known = {*self._free, *self._under_way}
            self._fresh += [random.randbytes(32) for _ in range(_SHEET_TICKETS - len(known) - len(self._fresh))]
            ids = b"".join(sorted(map(id_of, {*known, *self._fresh})))
            answer = await put_body(owner, json.dumps({"week": week_of(owner.clock()), "ids": encode(ids)}).encode())
            if answer.status == 204:
                self._free, self._fresh = [*self._free, *self._fresh], []
            return answer

    def take(self) -> bytes:
        """One that nobody has used."""
        ticket = self._free.pop()
        self._under_way.add(ticket)
        return ticket

    def use(self, ticket: bytes) -> None:
        """Its delivery was answered."""
        self._under_way.discard(ticket)
        if ticket not in self.spent:
            self.spent.append(ticket)
