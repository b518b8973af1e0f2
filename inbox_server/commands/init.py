"""`inbox-server init`: a configuration and a secret for a real deployment."""

import argparse
import json
import secrets
from pathlib import Path

from inbox_server.commands.terminal import Commands, complain, tell
from inbox_server.config.file import parse_config, render_config
from inbox_server.config.secret import write_secret
from inbox_server.identity.keyed_hash import SECRET_BYTES


def add_init(commands: Commands) -> None:
    command = commands.add_parser(
        "init",
        help="write a configuration and a secret for a real deployment",
        description="Write a commented config.toml and a secret file (mode 0600). Nothing is overwritten.",
    )
    command.add_argument("folder", nargs="?", type=Path, default=Path(), help="where to write them (default: here)")
    command.add_argument(
        "--url", metavar="ORIGIN", help="the public origin of this server, such as https://inbox.example"
    )
    command.add_argument(
        "--listed",
        metavar="IDENTITY",
        action="append",
        default=[],
        help="a name, app public key or app address that may claim an inbox (repeatable)",
    )
    command.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    config_path, secret_path = folder / "config.toml", folder / "secret"
    taken = [str(path) for path in (config_path, secret_path) if path.exists()]
    if taken:
        complain(f"{' and '.join(taken)} already exist; nothing was written. Move them away, or edit them.")
        return 1
    overrides = {}
    if options.url:
        overrides["server.public_url"] = json.dumps(options.url)
    if options.listed:
        overrides["registration.listed"] = json.dumps(options.listed)
    asked = {
        "server": {"public_url": options.url or "https://inbox.example"},
        "registration": {"listed": options.listed},
    }
    parse_config(asked, folder.resolve())  # report errors before anything is written
    text = render_config(overrides, leave_out=frozenset() if options.url else frozenset({"server.public_url"}))
    folder.mkdir(parents=True, exist_ok=True)
    write_secret(secret_path, secrets.token_bytes(SECRET_BYTES))
    config_path.write_text(text, encoding="utf-8")
    tell(f"wrote {config_path} and {secret_path} (keep a copy of the secret somewhere else)")
    if not options.url:
        tell(f"next: set server.public_url in {config_path}")
    if not options.listed:
        tell(f"next: list who may claim an inbox in {config_path}, registration.listed")
    tell(f"then: inbox-server serve --config {config_path}")
    return 0
