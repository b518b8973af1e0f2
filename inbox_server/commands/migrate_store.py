"""`inbox-server migrate-store`: everything of a server from one database to another."""

import argparse
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from inbox_server.clock import DAY_SECONDS, system_clock
from inbox_server.commands import exit_codes
from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, complain, counted, run, tell
from inbox_server.config.config import Config
from inbox_server.config.file import load_config
from inbox_server.config.postgres_url import postgres_url
from inbox_server.config.secret import Secret, read_database_password, read_secret
from inbox_server.store.choosing import day_keys_file, postgres
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import Database, migrate, reopen
from inbox_server.store.sqlite.files import keep_owner, make_private
from inbox_server.store.sqlite.migrating import open_for_migration
from inbox_server.store.whole_inbox import Tally

_SQLITE: Final = "sqlite:"
_MARK_BYTES: Final = 16
_PROGRESS_SECONDS: Final = 2
_HERE: Final = "here sqlite:DIRECTORY is SQLite, and --from-password-file or --to-password-file names a password's file"
_EPILOG: Final = """
STORE is `sqlite:DIRECTORY`, `sqlite:` for server.data_dir, or a URL as in store.url, without a password. For the
configured URL, the password is the configured one; otherwise it comes from the file that you name, from PGPASSWORD or
from ~/.pgpass.

Stop all servers first, and start none until it is finished. You may interrupt it and run it again: it continues where
it stopped. At the end it reads both databases and compares everything; then no server starts on the old one any more.
Generations, change numbers and the secret stay, so clients keep the cursors that they have.
"""


def add_migrate_store(commands: Commands) -> None:
    command = commands.add_parser(
        "migrate-store",
        help="move a server to PostgreSQL, or back",
        description="Copy everything of a server that is stopped into another database, which must be empty.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(command)
    command.add_argument(
        "--from",
        dest="source",
        type=_store,
        metavar="STORE",
        help="the database as it is (default: the configured one)",
    )
    command.add_argument("--from-password-file", type=Path, metavar="FILE", help="the file of its password, mode 0600")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", dest="target", type=_store, metavar="STORE", help="an empty database, or a new directory")
    what.add_argument(
        "--reopen",
        action="store_true",
        help="copy nothing, and let servers use the one in --from again, although it was copied elsewhere: then clients"
        " must list everything again",
    )
    command.add_argument("--to-password-file", type=Path, metavar="FILE", help="the file of its password, mode 0600")
    add_json(command)
    command.set_defaults(run=_migrate_store)


def _store(text: str) -> str:
    if text.startswith(_SQLITE):
        return text
    try:
        return postgres_url(text, Path()) or _SQLITE
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} ({_HERE})") from None


def _migrate_store(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if config.store_urls and not options.source:
        complain("store.urls names several clusters: bring all shards into the first, and name it with --from")
        return exit_codes.USAGE
    source = _full(options.source or config.store_url or _SQLITE, config)
    target = _full(options.target, config) if options.target else None
    if target == source:
        complain("--from and --to are the same database: the configuration names it, unless --from names another one")
        return exit_codes.USAGE
    run(_reopen(config, secret, source, options) if target is None else _move(config, secret, source, target, options))
    return 0


def _full(store: str, config: Config) -> str:
    """With the directory that it means."""
    if not store.startswith(_SQLITE):
        return store
    return _SQLITE + str(Path(store.removeprefix(_SQLITE) or config.data_dir).resolve())


@contextlib.asynccontextmanager
async def _open(
    store: str, config: Config, secret: Secret, password_file: Path | None, *, new: bool
) -> AsyncIterator[Database]:
    known: dict[str, Any] = {"check_value": secret.hashes().check_value(), "layers": secret.layers, "new": new}
    if store.startswith(_SQLITE):
        async with open_for_migration(Path(store.removeprefix(_SQLITE)), **known) as database:
            yield database
        return
    if store in (config.store_url, *config.store_urls):
        password = read_database_password(password_file or config.store_password_file)
    else:
        password = read_database_password(password_file) if password_file else None
    cluster, day_keys = postgres("primary").Cluster(store, password), day_keys_file(config)
    make_private(config.data_dir)
    is_new = not day_keys.exists()
    async with postgres("migrating").open_for_migration(cluster, day_keys_file=day_keys, **known) as database:
        if is_new:
            keep_owner(day_keys, day_keys.parent)  # root may have asked, and the server writes it over each day
        yield database


async def _move(config: Config, secret: Secret, source: str, target: str, options: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(_open(source, config, secret, options.from_password_file, new=False))
        if source.startswith(_SQLITE) and not target.startswith(_SQLITE):
            await _check_rotation(old, secret)
        new = await stack.enter_async_context(_open(target, config, secret, options.to_password_file, new=True))
        show = _Progress(quiet=options.json)
        tally = await migrate(old, new, new_id=secrets.token_bytes(_MARK_BYTES), progress=show)
        draining = (await new.read_rest()).draining
    if options.json:
        counts = {**tally.counts, "sha256": tally.digest()} if tally else {}
        tell(json.dumps({"from": old.place, "to": new.place, "finished_before": tally is None, **counts}))
        return
    if tally is None:
        tell(f"Everything was copied from {old.place} to {new.place} before. Nothing was done now.")
    else:
        _tell_counts(old, new, tally)
    for line in _next_steps(config, target, draining=draining):
        tell(line)
    tell(f"No server starts on {old.place} any more; it keeps what is read from now on.")
    seals_no_more = target.startswith(_SQLITE) and not source.startswith(_SQLITE)
    day_keys = f", and {day_keys_file(config)} on every host," if seals_no_more else ""
    tell(f"Delete it{day_keys} once the new one works.")


async def _check_rotation(old: Database, secret: Secret) -> None:
    """Raises `BadDatabase` while a rotation of the secret waits for a start: on PostgreSQL it would wait for ever."""
    newest = secret.layers[0].hide(secret.hashes().check_value())
    if await old.secret_check() != (newest,):
        raise BadDatabase(
            f"A new secret waits for the next start of the server on {old.place}, and PostgreSQL's tables cannot be put"
            " under it. Start the server once, stop it, and run this again. Nothing was copied."
        )


def _tell_counts(old: Database, new: Database, tally: Tally) -> None:
    inboxes, unread = counted(tally.counts["inboxes"], "inbox", "inboxes"), tally.counts["unread"]
    tell(f"copied {inboxes} with {unread} unread from {old.place} to {new.place}")
    tell(f"Both were read and hold the same: SHA-256 {tally.digest()}")
    if damaged := tally.counts["damaged"]:
        tell(f"{counted(damaged, 'text was', 'texts were')} damaged before: their readers see that by the ID.")


def _next_steps(config: Config, target: str, *, draining: bool) -> Iterator[str]:
    if target.startswith(_SQLITE):
        yield f'Now set store.url = "" and server.data_dir = "{target.removeprefix(_SQLITE)}", and start the server.'
    else:
        yield f"Every host needs a copy of {day_keys_file(config)}, by which unread texts are opened."
        yield "Now set store.url to the new database, and start the server."
    if draining:
        yield "It takes nothing new yet, as before: run `inbox-server drain --end` then."


async def _reopen(config: Config, secret: Secret, source: str, options: argparse.Namespace) -> None:
    async with _open(source, config, secret, options.from_password_file, new=False) as database:
        day = system_clock() // DAY_SECONDS
        renewed = await reopen(database, random_bytes=secrets.token_bytes, day=day)
    if options.json:
        tell(json.dumps({"from": database.place, "reopened": True, "renewed": renewed}))
        return
    tell(f"servers may use {database.place} again")
    if renewed:
        tell("What happened at the other database is not in it. Clients notice, and list everything again.")


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told = time.monotonic()

    def __call__(self, what: str, inboxes: int, entries: int, all: int) -> None:
        of_all = f"{inboxes} of {counted(all, 'inbox', 'inboxes')}"
        now = time.monotonic()
        if self._quiet:
            return
        if what == "found":
            tell(f"{of_all} are there already")
        elif now - self._told > _PROGRESS_SECONDS:
            self._told = now
            tell(f"{what} {of_all}, {counted(entries, 'entry', 'entries')}")
