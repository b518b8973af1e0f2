"""`inbox-server backup` and `inbox-server restore`: copies of the database."""

import argparse
import json
import secrets
from dataclasses import asdict
from pathlib import Path

from inbox_server.clock import system_clock
from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, counted, tell
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.errors import CommandFailed
from inbox_server.store.sqlite.backup import back_up, restore


def add_backup(commands: Commands) -> None:
    command = commands.add_parser(
        "backup",
        help="copy the database, even while the server runs",
        description="Copy the database as it is at one moment, and check the copy. The server may run meanwhile. The"
        " copy does not contain the secret, and nobody can use it without, not even you: keep the secret elsewhere.",
        epilog="A copy keeps what is read later, so delete it when you have the next one. It is for SQLite."
        " PostgreSQL's own tools copy a PostgreSQL database: docs/postgresql.md, Backups.",
    )
    add_config(command)
    command.add_argument(
        "--settings-only", action="store_true", help="copy inboxes and their settings, but no messages"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the copy, a file that does not exist yet")
    add_json(command)
    command.set_defaults(run=_backup)


def add_restore(commands: Commands) -> None:
    command = commands.add_parser(
        "restore",
        help="replace the database with a copy",
        description="Put a copy into server.data_dir, which must not hold a database. Stop the server first. The"
        " configured secret must be the one that the copy was made with.",
        epilog="What was read or deleted since the copy was made is unread again; what arrived since then is"
        " missing. Clients notice, and list everything again. The log of each inbox says for the longest retention that"
        " a copy was put back today, so that nobody takes the loss for fraud. With PostgreSQL:"
        " docs/postgresql.md, Restore.",
    )
    add_config(command)
    command.add_argument("file", type=Path, metavar="FILE", help="a copy made by `inbox-server backup`")
    add_json(command)
    command.set_defaults(run=_restore)


def _backup(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.store_url:
        raise CommandFailed(
            "store.url names a PostgreSQL database, and its own tools copy it, such as pg_dump: docs/postgresql.md,"
            " Backups. Nothing was copied."
        )
    secret = read_secret(config.secret_file)
    copied = back_up(
        config.data_dir,
        options.file,
        check_value=secret.hashes().check_value(),
        layers=secret.layers,
        settings_only=options.settings_only,
    )
    if options.json:
        tell(json.dumps({"file": str(options.file), **asdict(copied)}))
        return 0
    what = "no messages" if options.settings_only else f"{copied.unread} unread"
    inboxes = counted(copied.inboxes, "inbox", "inboxes")
    tell(f"wrote {options.file}: {inboxes}, {what}; opened and checked")
    tell(f"The secret ({config.secret_file}) is not in it. Nobody can use this copy without it: keep it elsewhere.")
    return 0


def _restore(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.store_url:
        raise CommandFailed(
            "store.url names a PostgreSQL database, and its own tools put a copy back, such as pg_restore; after that,"
            " run `inbox-server after-restore`: docs/postgresql.md, Restore. Nothing was changed."
        )
    secret = read_secret(config.secret_file)
    copied = restore(
        config.data_dir,
        options.file,
        check_value=secret.hashes().check_value(),
        layers=secret.layers,
        random_bytes=secrets.token_bytes,
        now=system_clock(),
    )
    if options.json:
        tell(json.dumps({"data_dir": str(config.data_dir), **asdict(copied)}))
        return 0
    inboxes = counted(copied.inboxes, "inbox", "inboxes")
    if copied.unread:
        tell(f"restored {inboxes} with {copied.unread} unread to {config.data_dir}")
        tell(
            "What was read since the copy was made is unread again, and what arrived since is missing. Clients notice,"
            " and list everything again."
        )
    else:
        tell(f"restored {inboxes} with settings to {config.data_dir}; nothing is unread in the copy")
        tell(
            "What waited on the old server is missing, and so is what arrived since. Clients notice, and list"
            " everything again."
        )
    return 0
