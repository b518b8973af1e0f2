"""The `inbox-server` command: what a person types, and what they are told."""

import argparse
import asyncio
import contextlib
import io
import json
import logging
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from inbox_server import __version__
from inbox_server.blind import SECRET_BYTES, Blinder
from inbox_server.clock import DAY_SECONDS, UnixTime, system_clock
from inbox_server.config import BadConfig
from inbox_server.config_file import load_config, parse_config, render_config
from inbox_server.identities import is_origin
from inbox_server.listening import CannotListen
from inbox_server.process import forbid_dumps
from inbox_server.secret import BadSecret, read_secret, write_secret
from inbox_server.server import serve
from inbox_server.store.database import BadDatabase
from inbox_server.store.opening import add_invite
from inbox_server.world.demo import APP, StepFailed, paste_commands, walk
from inbox_server.world.local import PortsTaken, World, port_or_any, running_world

try:
    from uvloop import new_event_loop  # answers about a third more requests
except ImportError:  # not on every platform
    from asyncio import new_event_loop  # type: ignore[assignment]

_DEFAULT_CONFIG: Final = Path("config.toml")
_WORLD_PORT: Final = 8720
_INVITE_BYTES: Final = 16
_USAGE_EXIT: Final = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 asked wrongly (arguments or configuration)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII only still gets the rest
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    try:
        exit_code: int = options.run(options)
    except (BadConfig, BadSecret) as error:
        _complain(str(error))
        return _USAGE_EXIT
    except (BadDatabase, CannotListen, PortsTaken, StepFailed, OSError) as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inbox-server",
        description="A message-ID inbox server: it stores that Bob got something, and nothing else.",
        epilog="Try `inbox-server demo` first. To run your own: `inbox-server init`, then `inbox-server serve`.",
    )
    parser.add_argument("--version", action="version", version=f"inbox-server {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "demo",
        help="walk the whole workflow with Alice and Bob on this machine",
        description="Start a small local world (name service, Gaia hub, inbox server) and walk the five steps in it.",
    )
    command.add_argument("--once", action="store_true", help="exit after the walk; 0 only if every step held")
    command.set_defaults(run=_demo)

    command = commands.add_parser(
        "init",
        help="write a configuration and a secret for a real deployment",
        description="Write a commented config.toml and a secret file (mode 0600). Nothing is overwritten.",
    )
    command.add_argument("folder", nargs="?", type=Path, default=Path(), help="where (default: here)")
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

    command = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or Ctrl-C. A bad configuration is listed in full; exit code 2.",
    )
    _add_config(command)
    command.set_defaults(run=_serve)

    command = commands.add_parser("invite", help="let somebody claim an inbox", description="One-time invite codes.")
    invites = command.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = invites.add_parser(
        "new",
        help="make invite codes",
        description='Print one-time codes for `registration.mode = "invite"`. Only their hashes are kept.'
        " Works while the server runs.",
    )
    _add_config(command)
    command.add_argument("--count", type=_whole(1, 1000), default=1, help="how many (default: 1)")
    command.add_argument("--days", type=_whole(1, 3650), default=7, help="how long they are good for (default: 7)")
    command.set_defaults(run=_invite_new)

    command = commands.add_parser(
        "dev",
        help="run the local world for developing an app without internet",
        description="Run a name service, a Gaia hub and an inbox server on loopback, with alice.id and bob.id in it."
        " Everything is gone when it stops.",
    )
    command.add_argument(
        "--app", metavar="ORIGIN", type=_origin, default=APP, help=f"your app's origin (default: {APP})"
    )
    command.add_argument(
        "--port",
        type=_whole(0, 65532),
        default=_WORLD_PORT,
        help=f"the first of four ports (default: {_WORLD_PORT}; 0: any that are free)",
    )
    command.set_defaults(run=_dev)
    return parser


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", metavar="FILE", type=Path, default=_DEFAULT_CONFIG, help="the configuration (default: config.toml)"
    )


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _origin(text: str) -> str:
    if not is_origin(text):
        raise argparse.ArgumentTypeError("must be an origin such as https://chat.example, without a slash at the end")
    return text


def _init(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    config_path, secret_path = folder / "config.toml", folder / "secret"
    taken = [str(path) for path in (config_path, secret_path) if path.exists()]
    if taken:
        _complain(f"{' and '.join(taken)} exist already; nothing was written. Move them away, or edit them.")
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
    parse_config(asked, folder.resolve())  # says now what is wrong, before anything is written
    text = render_config(overrides, leave_out=frozenset() if options.url else frozenset({"server.public_url"}))
    folder.mkdir(parents=True, exist_ok=True)
    write_secret(secret_path, secrets.token_bytes(SECRET_BYTES))
    config_path.write_text(text, encoding="utf-8")
    print(f"wrote {config_path} and {secret_path} (keep a copy of the secret in another place)")
    if not options.url:
        print(f"next: set server.public_url in {config_path}")
    if not options.listed:
        print(f"next: list who may claim an inbox in {config_path}, registration.listed")
    print(f"then: inbox-server serve --config {config_path}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    forbid_dumps()
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if config.outgoing_allow:
        _complain(f"warning: outgoing.allow lets strangers' URLs lead to {', '.join(sorted(config.outgoing_allow))}")
    _run(serve(config, secret, announce=_tell))
    return 0


def _invite_new(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    blinder = Blinder(read_secret(config.secret_file))
    if config.registration != "invite":
        _complain(f'note: registration.mode is "{config.registration}", so codes are of no use until it is "invite"')
    expires = UnixTime(system_clock() + options.days * DAY_SECONDS)
    codes = [secrets.token_urlsafe(_INVITE_BYTES) for _ in range(options.count)]

    async def add() -> None:
        for code in codes:
            await add_invite(config.data_dir, blinder.invite(code), expires=expires, check_value=blinder.check_value())

    _run(add())
    for code in codes:
        print(code)
    return 0


def _demo(options: argparse.Namespace) -> int:
    async def demo() -> None:
        async with _temporary_world(0 if options.once else port_or_any(_WORLD_PORT)) as world:
            alice, bob = await walk(world, _tell)
            if not options.once:
                _tell("\nThe world stays up for playing. Paste into another terminal:\n")
                _tell("\n".join(paste_commands(world, alice, bob)))
                _tell("\nTo run your own: inbox-server init, then inbox-server serve.")
                await _until_interrupted()

    _run(demo())
    return 0


def _dev(options: argparse.Namespace) -> int:
    async def dev() -> None:
        async with _temporary_world(options.port) as world:
            _tell(f"inbox server   {world.inbox_url}   (takes everyone)")
            _tell(f"name service   {world.names_url}/v1/names/")
            _tell(f"Gaia hub       {world.hub_url}   reads at {world.read_url}")
            for name in ("alice.id", "bob.id"):
                person = await world.settle(name, options.app)
                _tell(f"\n{name} for {options.app}")
                _tell(f"   app private key  {person.app_key.secret.hex()}")
                _tell(f"   app public key   {person.app_key.public}")
                _tell(f"   bucket           {world.read_url}{person.app_key.address}/")
            _tell(f"\nIs it there?  curl {world.inbox_url}/.well-known/message-inbox")
            _tell("How to sign tokens: docs/protocol.md")
            await _until_interrupted()

    _run(dev())
    return 0


@contextlib.asynccontextmanager
async def _temporary_world(first_port: int) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="inbox-server-") as folder:
        async with running_world(Path(folder), clock=system_clock, first_port=first_port) as world:
            yield world


async def _until_interrupted() -> None:
    _tell("\nCtrl-C stops it, and nothing is kept.")
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
    _tell("")


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


def _quiet_libraries() -> None:
    """Our own log is event names and counts. Libraries' logs name clients, statements and tokens: they are off."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for name in ("aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _tell(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
