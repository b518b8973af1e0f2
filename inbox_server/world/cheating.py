"""A server that hides a message, and how its owner finds out: the part of the demo in which nobody is trusted."""

import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.open_client import open_client
from inbox_server.client.outbox import Outbox
from inbox_server.client.profile_file import Profile
from inbox_server.client.reports import Audit
from inbox_server.client.storage import InMemory
from inbox_server.clock import Clock
from inbox_server.inbox_log import LogEntry, LogPoint, fold
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.world.local_world import World, running_world
from inbox_server.world.people import Person
from inbox_server.world.second_inbox import second_inbox

_APP: Final = "https://chat.example"
_BOB: Final = "bob.id"
_HIDDEN: Final = "No: at one, and bring bread."


async def cheat_and_be_caught(clock: Clock, say: Callable[[str], None]) -> Audit:
    """Walk it, in a world of its own; returns what Bob's app found."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        world = await stack.enter_async_context(running_world(folder / "world", clock=clock))
        people = [await world.settle(name, _APP) for name in ("alice.id", _BOB)]
        alice, bob = [await stack.enter_async_context(_client(world, person)) for person in people]
        data_dir, secret = folder / "data", secrets.token_bytes(32)
        async with second_inbox(world, data_dir, secret) as url:
            await bob.claim({"names": [_BOB]}, inboxes=(url,))
            await bob.publish((url,))
            await alice.send(_BOB, "The meadow at noon, then.")
            for entry in (await bob.unread()).entries:
                await bob.fetch(entry)
            await bob.audit()
            await alice.send(_BOB, _HIDDEN)
        say("Last: a server that cheats. Bob read a message there, and his app checked the server's log. Then Alice")
        say("wrote again, got a receipt, and her app kept it for Bob in her own bucket. Before Bob looks, the operator")
        say("takes the new message out of the database, and its row out of the log, so that the rest holds together.\n")
        hide_newest(data_dir)
        async with second_inbox(world, data_dir, secret, int(url.rpartition(":")[2])):
            audit = await bob.audit()
            for finding in audit.findings:
                say(f"   Bob's app audits the server: {finding.says}.")
            for entry in audit.found:
                say(f"   It takes the message from Alice's own bucket instead: “{(await bob.fetch(entry)).content!s}”")
            return audit


@contextlib.asynccontextmanager
async def _client(world: World, person: Person) -> AsyncIterator[InboxClient]:
    profile = Profile(
        person.app_key,
        person.app,
        world.hub_url,
        (world.read_url,),
        person.name,
        (world.names_url,),
        association=world.association_token(person),
    )
    async with open_client(InMemory(profile), InMemory[Outbox]({}), clock=world.clock) as client:
        yield client


def hide_newest(data_dir: Path) -> None:
    """What an operator can do who wants nobody to notice: the log that is left holds together."""
    with contextlib.closing(sqlite3.connect(data_dir / DATABASE_NAME)) as db, db:
        every = "SELECT inbox, n, id FROM logged UNION SELECT inbox, n, id FROM message WHERE n IS NOT NULL ORDER BY n"
        rows = db.execute(every).fetchall()
        inbox, _, id = rows[-1]
        base = LogPoint(*db.execute("SELECT base_n, base_head FROM inbox WHERE inbox = ?", (inbox,)).fetchone())
        end = fold(base, (LogEntry(n, kept) for _, n, kept in rows[:-1]))
        db.execute("DELETE FROM message WHERE id = ?", (id,))
        db.execute("UPDATE inbox SET log_n = ?, log_head = ? WHERE inbox = ?", (end.n, end.head, inbox))
