"""`inbox-server rotate-secret`: a new secret over the one that may be known to others."""

import argparse
import json
import math
import secrets

from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, complain, counted, tell
from inbox_server.config.file import load_config
from inbox_server.config.secret import add_secret, read_secret
from inbox_server.errors import CommandFailed
from inbox_server.identity.keyed_hash import SECRET_BYTES
from inbox_server.store.sqlite.rekeying import Extent, extent_of

_EPILOG = """
The server may run meanwhile. At its next start it puts everything that is stored under the new secret, all of it or
nothing, even if it is killed or the power fails. Until then it uses the old secret.

Nothing changes for owners and senders. The key by which push services know the server stays. The file keeps the old
lines: without the last line nothing is found, and without those between, backups of their time are useless. Copies of
the database that were made before can always be read with the old secret: delete those you can reach.

It is for SQLite. With PostgreSQL it changes nothing, and says what to do: docs/postgresql.md, The secret leaked.
"""


def add_rotate_secret(commands: Commands) -> None:
    command = commands.add_parser(
        "rotate-secret",
        help="replace a secret that others may know",
        description="Put a new secret before the others in server.secret_file, for the next start of the server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(command)
    add_json(command)
    command.set_defaults(run=_rotate_secret)


def _rotate_secret(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.store_url:
        raise CommandFailed(
            "A new secret cannot be put over a PostgreSQL database yet. Nothing was changed. What to do instead:"
            " docs/postgresql.md, The secret leaked"
        )
    secret = read_secret(config.secret_file)
    extent = extent_of(config.data_dir, check_value=secret.hashes().check_value(), layers=secret.layers)
    if not extent.is_newest:
        complain(f"{config.secret_file} has a new secret already, which waits for the server's next start.")
        complain("Nothing was written. Restart the server first.")
        return 1
    add_secret(config.secret_file, secrets.token_bytes(SECRET_BYTES))
    seconds = _seconds(extent)
    if options.json:
        counts = {"inboxes": extent.inboxes, "entries": extent.entries}
        tell(json.dumps({"secret_file": str(config.secret_file), **counts, "seconds": seconds}))
        return 0
    inboxes, entries = counted(extent.inboxes, "inbox", "inboxes"), counted(extent.entries, "entry", "entries")
    tell(f"wrote a new secret into {config.secret_file}. Keep a copy of the file somewhere else before you go on.")
    tell(f"Then restart the server: it puts {inboxes} with {entries} under the new secret, in about {seconds} s.")
    return 0


def _seconds(extent: Extent) -> int:
    """About how long a start will take longer, on a machine like ours (docs/decisions/0016-rotating-the-secret.md)."""
    return max(1, math.ceil(extent.entries / 100_000 + extent.inboxes / 25_000))
