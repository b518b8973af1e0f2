"""`inbox-server serve`: the server itself."""

import argparse
from functools import partial

from yarl import URL

from inbox_server.commands.terminal import Commands, add_config, complain, run, tell
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.hardening import allow_many_files, forbid_dumps
from inbox_server.outgoing.guard import NotAllowed, check_stranger_url, is_public
from inbox_server.serving import serve
from inbox_server.store.sqlite.opening import DATABASE_NAME


def add_serve(commands: Commands) -> None:
    command = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or Ctrl-C. It lists all errors of a bad configuration; exit code 2.",
    )
    add_config(command)
    command.set_defaults(run=_serve)


def is_plain_and_public(origin: str) -> bool:
    """Whether an origin is http on a name or address that anybody can reach."""
    url = URL(origin)
    try:
        check_stranger_url(URL.build(scheme="https", host=url.raw_host or ""))
    except NotAllowed:
        return url.scheme == "http" and is_public(url.raw_host or "")
    return url.scheme == "http"


def _serve(options: argparse.Namespace) -> int:
    forbid_dumps()
    allow_many_files()
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if config.outgoing_allow:
        complain(f"warning: outgoing.allow lets strangers' URLs lead to {', '.join(sorted(config.outgoing_allow))}")
    if is_plain_and_public(config.public_url):
        complain(
            f"warning: {config.public_url} is plain http on a public name: tokens can be read on the way, and apps on"
            " https cannot use it. Put a TLS proxy in front, and set server.public_url to https://"
        )
    is_any_there = config.store_url or any(
        (config.data_dir / f"{DATABASE_NAME}{end}").exists() for end in ("", "-wal", "-journal")
    )
    if not is_any_there:  # or the disk with the database is not mounted
        tell(f"there is no database in {config.data_dir} yet: the start makes an empty one")
    run(serve(config, secret, announce=tell, reread=partial(load_config, options.config)))
    return 0
