"""A channel to the owners' own addresses: they are read from the store, opened and told, and dropped when they end."""

import asyncio
import contextlib
import logging
from collections.abc import Collection

from inbox_server.errors import Unavailable
from inbox_server.notify.channel import OwnerChannel, Stopped, Tally
from inbox_server.notify.sealing import NotOurs, Sealer
from inbox_server.outgoing.fetch import Absent, Unreachable
from inbox_server.store.contract import Store, Subscribed

log = logging.getLogger(__name__)


class Owners:
    """Implements `channel.Channel` for any `OwnerChannel`."""

    def __init__(self, channel: OwnerChannel, sealer: Sealer, store: Store) -> None:
        self.name = channel.kind.name
        self.at_once = channel.kind.at_once
        self.tally = Tally()
        self._channel = channel
        self._sealer = sealer
        self._store = store

    def about(self, inbox: bytes, channels: Collection[str]) -> bytes | None:
        return inbox if self.name in channels else None

    async def notify(self, inbox: bytes) -> None:
        kept = await self._store.subscriptions(inbox, self.name)
        await asyncio.gather(*(self._tell(inbox, each) for each in kept))

    async def _tell(self, inbox: bytes, kept: Subscribed) -> None:
        try:
            await self._channel.tell(self._sealer.open(kept.sealed, inbox))
        except Absent:
            self.tally.gone += 1
            with contextlib.suppress(Unavailable):  # the disk failed; the next notification tries again
                await self._store.drop_subscription(inbox, kept)
        except Unreachable:
            self.tally.failed += 1
        except Stopped:
            self.tally.stopped += 1
        except NotOurs:
            self.tally.failed += 1
            log.error("a %s subscription cannot be opened: the database is damaged", self.name)  # noqa: TRY400
        else:
            self.tally.sent += 1
