"""`inbox-server serve`: the server itself."""

import argparse

from inbox_server.commands.terminal import Commands, add_config, complain, run, tell
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.hardening import allow_many_files, forbid_dumps
from inbox_server.server import serve


def add_serve(commands: Commands) -> None:
    command = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or Ctrl-C. A bad configuration is listed in full; exit code 2.",
    )
    add_config(command)
    command.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    forbid_dumps()
    allow_many_files()
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if config.outgoing_allow:
        complain(f"warning: outgoing.allow lets strangers' URLs lead to {', '.join(sorted(config.outgoing_allow))}")
    run(serve(config, secret, announce=tell))
    return 0
