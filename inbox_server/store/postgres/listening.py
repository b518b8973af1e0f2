"""Wake-ups across processes and hosts: by LISTEN and NOTIFY, and by asking every two seconds in case one was lost.

Notifications go out after the commit, gathered, on the listener's own connection: in the transaction they would make
all commits of the server wait for each other. A notification holds inboxes' keyed hashes and nothing else.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Final, Self

from inbox_server.store.contract import Changed
from inbox_server.store.postgres.feed import FeedEnd, read_ends
from inbox_server.store.postgres.primary import Cluster, Connection, Failure, NotServed

HASH_BYTES: Final = 16
POLL_SECONDS: Final = 2.0
_DEAF_POLL_SECONDS: Final = 0.3  # when notifications do not come: there may be a pooler that breaks LISTEN
_RECONNECT_SECONDS: Final = 0.5
_HEAR_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0
_SCHEMA: Final = "SELECT oid FROM pg_namespace WHERE nspname = current_schema()"  # the name may be too long
_AT_ONCE: Final = 1000  # inboxes in one statement
_IN_ONE: Final = 360  # in one notification, which has 7,999 characters at most

log = logging.getLogger(__name__)


class Listening:
    """Tells and hears of inboxes that changed, for as long as its context lasts.

    `changed` is called with inboxes that changed elsewhere, or may have. `watched` are those that somebody waits for
    here. `beat` is called on the connection every two seconds, and after each new connection, if the cluster admits us.
    """

    def __init__(
        self,
        cluster: Cluster,
        changed: Changed,
        watched: Callable[[], Collection[bytes]],
        beat: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._changed = changed
        self._watched = watched
        self._beat = beat
        self._standings: dict[bytes, FeedEnd | None] = {}
        self._untold: set[bytes] = set()
        self._soon = asyncio.Event()
        self._heard = asyncio.Event()
        self.hears = False
        """Whether notifications come."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def tell(self, inboxes: Collection[bytes]) -> None:
        """Tell all other processes that these changed; the commit is done."""
        self._untold.update(inboxes)
        self._soon.set()

    async def _run(self) -> None:
        while True:
            try:
                connection = await self._cluster.connect(synchronous_commit="off")
            except NotServed:  # who waits reads, and learns it
                self._changed(list(self._watched()))
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            except Failure:  # those who read and write say so
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            try:
                await self._serve(connection)
            except Failure:
                await asyncio.sleep(_RECONNECT_SECONDS)
            except Exception as error:  # noqa: BLE001 — wake-ups outlive whatever one round meets
                log.error("wake-ups failed: %s", type(error).__name__)  # noqa: TRY400 — a traceback may hold values
                await asyncio.sleep(_RECONNECT_SECONDS)
            finally:
                self.hears = False
                connection.terminate()

    async def _serve(self, connection: Connection) -> None:
        """Until the connection fails. What changed while there was none is not known, so all that wait are woken."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            channel = f"inbox_changes_{await connection.fetchval(_SCHEMA)}"
            own = connection.get_server_pid()
            await connection.add_listener(channel, lambda _, pid, __, text: self._hear(str(text), own=pid == own))
        self._standings.clear()
        self._changed(list(self._watched()))
        await self._try_to_hear(channel)
        next_poll = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_poll - clock())):
                    await self._soon.wait()
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._notify(connection, channel)
                if clock() >= next_poll:
                    await self._poll(connection)
                    next_poll = clock() + (POLL_SECONDS if self.hears else _DEAF_POLL_SECONDS)

    async def _try_to_hear(self, channel: str) -> None:
        """Whether this connection hears what another one says: through a pooler, it may hear itself and nobody else."""
        self._heard.clear()
        other = await self._cluster.connect(synchronous_commit="off")
        try:
            async with asyncio.timeout(_HEAR_SECONDS):
                await other.execute("SELECT pg_notify($1, '')", channel)
                await self._heard.wait()
            self.hears = True
        except TimeoutError:
            log.warning("PostgreSQL's notifications do not come: there may be a pooler in between; asking instead")
        finally:
            other.terminate()

    def _hear(self, text: str, *, own: bool) -> None:
        self._heard.set()
        if not own:
            with contextlib.suppress(binascii.Error):
                raw = base64.b64decode(text)
                self._changed([raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)])

    async def _notify(self, connection: Connection, channel: str) -> None:
        self._soon.clear()
        untold, self._untold = list(self._untold), set()
        if untold:
            texts = [base64.b64encode(b"".join(some)).decode() for some in _parts(untold, _IN_ONE)]
            await connection.execute("SELECT pg_notify($1, text) FROM unnest($2::text[]) AS text", channel, texts)

    async def _poll(self, connection: Connection) -> None:
        """Ask for all that somebody waits for. One that is new here is woken once, as nobody knows what it missed."""
        await self._cluster.ask_to_admit(connection)
        await self._beat(connection)
        watched = list(self._watched())
        standings = dict[bytes, FeedEnd | None]()
        for some in _parts(watched, _AT_ONCE):
            standings.update(zip(some, await read_ends(connection, some), strict=True))
        known = self._standings
        changed = [inbox for inbox, end in standings.items() if inbox not in known or end != known[inbox]]
        self._standings = standings
        if changed:
            self._changed(changed)


def _parts(inboxes: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (inboxes[at : at + size] for at in range(0, len(inboxes), size))
