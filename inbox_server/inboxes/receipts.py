"""Receipts for deliveries: those that a commit answered are signed together, with one signature."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import SigningKey
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.receipts import MOST_LEAVES, RECEIPT_TYPE, SALT_BYTES, Receipt, grow_tree, leaf_of
from inbox_server.protocol.signed import write_signed


@dataclass(frozen=True, slots=True)
class _Asked:
    """A leaf that waits for its path, and the time of the delivery."""

    leaf: bytes
    salt: bytes
    now: UnixTime
    answer: asyncio.Future[Receipt]


class Receipts:
    """Signs as the server at `origin`."""

    def __init__(self, key: SigningKey, *, origin: str, random_bytes: Callable[[int], bytes]) -> None:
        self._key = key
        self._origin = origin
        self._random_bytes = random_bytes
        self._asked: list[_Asked] = []

    async def sign(self, address: str, id: bytes, *, expires: UnixTime, now: UnixTime) -> Receipt:
        """A receipt for a delivery to an app address, which is on disk.

        A commit answers all its deliveries before any of them goes on, so all that ask are here before the first is
        signed.
        """
        loop, salt = asyncio.get_running_loop(), self._random_bytes(SALT_BYTES)
        if not self._asked:
            loop.call_soon(self._sign_all)
        asked = _Asked(leaf_of(salt, address, id, expires), salt, now, loop.create_future())
        self._asked.append(asked)
        return await asked.answer

    def _sign_all(self) -> None:
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), MOST_LEAVES):
            batch = [each for each in asked[start : start + MOST_LEAVES] if not each.answer.done()]  # some went away
            try:
                receipts = self._signed(batch) if batch else []
            except Exception as error:  # noqa: BLE001 — a callback: raised here, their callers would wait for ever
                for each in batch:
                    each.answer.set_exception(error)
            else:
                for each, receipt in zip(batch, receipts, strict=True):
                    each.answer.set_result(receipt)

    def _signed(self, asked: list[_Asked]) -> list[Receipt]:
        root, paths = grow_tree([each.leaf for each in asked], self._random_bytes)
        day = (
            max(each.now for each in asked) // DAY_SECONDS
        )  # not before any of them: what is logged depends on the day
        token = write_signed(self._key.sign, {"iss": self._origin, "root": encode(root), "day": day}, RECEIPT_TYPE)
        return [Receipt(token, each.salt, path) for each, path in zip(asked, paths, strict=True)]
