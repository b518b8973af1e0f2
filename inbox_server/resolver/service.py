"""Name services: who owns a name, and which zone file the owner set. They are trusted for that.

The shape is the Stacks API's `GET /v1/names/{name}`; the older core.blockstack.org differs only in what it leaves out.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.identity.addresses import NotAnAddress, owner_hash
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable
from inbox_server.resolver.contract import missing, unavailable, unproven

_MAX_ANSWER_BYTES: Final = 64 * 1024  # the zone file of a namespace's operator holds its subdomains' records
# Older services answer 400 to an impossible name. 403 and 410 mean that the service refuses us: that is a failure.
_NO_SUCH_NAME: Final = frozenset({400, 404})


_REVOKED: Final = ("revoked", "name-revoke")  # the older services' word, and the Stacks API's last operation


@dataclass(frozen=True, slots=True)
class NameRecord:
    """`owner` is an address, c32 or base58."""

    owner: str
    zone_file: str
    is_revoked: bool = False


class NameServices:
    """Several services as one. The next is asked when one fails, or all are asked when they must agree.

    A service that says there is no such name has answered; the next is not asked.
    """

    def __init__(self, fetcher: Fetcher, bases: tuple[str, ...], *, agreement: bool) -> None:
        self._fetcher = fetcher
        self._bases = bases
        self._agreement = agreement

    async def look_up(self, name: str) -> NameRecord:
        """`name` has already been checked. Raises `Refused` name_unproven, or `Unavailable`."""
        if not self._bases:
            raise unproven("No name service is configured here. Use the app public key as the identity.")
        record = await (self._all(name) if self._agreement else self._first(name))
        if record is None:
            raise missing("The name service knows no such name.")
        if record.is_revoked:
            raise unproven("The name is revoked.")
        return record

    async def _first(self, name: str) -> NameRecord | None:
        for base in self._bases:
            try:
                return await self._ask(base, name)
            except Unreachable:
                continue
        raise unavailable()

    async def _all(self, name: str) -> NameRecord | None:
        try:
            records = await asyncio.gather(*(self._ask(base, name) for base in self._bases))
        except Unreachable:
            raise unavailable() from None
        owners = {_same_owner(record) for record in records}
        if len(owners) > 1:
            raise unavailable()
        return records[0]

    async def _ask(self, base: str, name: str) -> NameRecord | None:
        """None when there is no such name. Raises `Unreachable`."""
        try:
            body = await self._fetcher.get(
                f"{base}/v1/names/{name}",
                max_bytes=_MAX_ANSWER_BYTES,
                configured=True,
                absent=_NO_SUCH_NAME,
            )
        except Absent:
            return None
        try:
            return _record(json.loads(body))
        except (ValueError, RecursionError):
            raise Unreachable from None


def _same_owner(record: NameRecord | None) -> str | None:
    """Equal for equal owners, in whichever of their two forms a service writes an address."""
    if record is None:
        return None
    try:
        return owner_hash(record.owner).hex()
    except NotAnAddress:
        return record.owner


def _record(answer: Any) -> NameRecord:
    if not isinstance(answer, dict) or not isinstance(answer.get("address"), str):
        raise ValueError("not a name's record")
    zone_files = (answer.get(member) for member in ("zonefile", "zonefile_txt"))  # left out when the owner set none
    zone_file = next((text for text in zone_files if isinstance(text, str) and text), "")
    return NameRecord(answer["address"], zone_file, answer.get("status") in _REVOKED)
