"""`inbox-server after-restore`: what a PostgreSQL database needs once a copy of it was put back."""

import argparse
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from inbox_server.clock import DAY_SECONDS, system_clock
from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, counted, run, tell
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.errors import CommandFailed
from inbox_server.store.choosing import clusters_of, postgres


def add_after_restore(commands: Commands) -> None:
    command = commands.add_parser(
        "after-restore",
        help="finish what pg_restore has begun (PostgreSQL)",
        description="Give every inbox of a PostgreSQL database that was put back a new generation, so that clients list"
        " everything again, and note the day in its log. Stop all servers first. Until it is done, none starts on a"
        " database that pg_restore has put back.",
        epilog="It works in small steps. If it is interrupted, run it again: it continues where it stopped. With"
        " SQLite, `inbox-server restore` does all that.",
    )
    add_config(command)
    command.add_argument("--settings-only", action="store_true", help="the copy was made without messages")
    add_json(command)
    command.set_defaults(run=_after_restore)


def _after_restore(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if not config.store_url:
        raise CommandFailed("The database is SQLite: `inbox-server restore` does all that is needed by itself.")
    clusters, opening, restored = clusters_of(config), postgres("opening"), postgres("restored")
    marked = Counter[str]()

    async def mark() -> None:
        for cluster in await _put_back(clusters, settings_only=options.settings_only):
            async with opening.connected(cluster) as db:
                await opening.claim(db, secret.hashes().check_value(), secret.layers)
                found = await restored.mark_restored(
                    db,
                    day=system_clock() // DAY_SECONDS,
                    settings_only=options.settings_only,
                    random_bytes=secrets.token_bytes,
                )
                marked.update(asdict(found))

    run(mark())
    if options.json:
        tell(json.dumps(marked))
        return 0
    inboxes, unread = counted(marked["inboxes"], "inbox", "inboxes"), marked["unread"]
    tell(f"marked {inboxes} with {unread} unread: clients notice, and list everything again. Start the servers now.")
    return 0


async def _put_back(clusters: Sequence[Any], *, settings_only: bool) -> Sequence[Any]:
    """Those in which a copy was put back. All of them, if it can be seen in none, as after a recovery to a moment."""
    opening, restored, upgrading = postgres("opening"), postgres("restored"), postgres("upgrading")
    found = []
    for cluster in clusters:
        async with opening.connected(cluster) as db:
            await upgrading.upgrade(db)
            if not await restored.is_home(db):
                found.append(cluster)
    for cluster in found or clusters:
        async with opening.connected(cluster) as db:
            await restored.check_content(db, settings_only=settings_only)
    for cluster in found or clusters:  # so that what is broken off later is known for all of them
        async with opening.connected(cluster) as db:
            await restored.will_be_marked(db)
    return found or clusters
