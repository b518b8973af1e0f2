"""`inbox-server demo` and `inbox-server dev`: the local world."""

import argparse
import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from inbox_server.clock import system_clock
from inbox_server.commands.terminal import Commands, run, tell, whole
from inbox_server.identities import is_origin
from inbox_server.world.demo import APP, paste_commands, walk
from inbox_server.world.local import World, port_or_any, running_world

_WORLD_PORT: Final = 8720


def add_demo(commands: Commands) -> None:
    command = commands.add_parser(
        "demo",
        help="walk the whole workflow with Alice and Bob on this machine",
        description="Start a small local world (name service, Gaia hub, inbox server) and walk the five steps in it.",
    )
    command.add_argument("--once", action="store_true", help="exit after the walk; 0 only if every step held")
    command.set_defaults(run=_demo)


def add_dev(commands: Commands) -> None:
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
        type=whole(0, 65532),
        default=_WORLD_PORT,
        help=f"the first of four ports (default: {_WORLD_PORT}; 0: any that are free)",
    )
    command.set_defaults(run=_dev)


def _origin(text: str) -> str:
    if not is_origin(text):
        raise argparse.ArgumentTypeError("must be an origin such as https://chat.example, without a slash at the end")
    return text


def _demo(options: argparse.Namespace) -> int:
    async def demo() -> None:
        async with _temporary_world(0 if options.once else port_or_any(_WORLD_PORT)) as world:
            alice, bob = await walk(world, tell)
            if not options.once:
                tell("\nThe world stays up for playing. Paste into another terminal:\n")
                tell("\n".join(paste_commands(world, alice, bob)))
                tell("\nTo run your own: inbox-server init, then inbox-server serve.")
                await _until_interrupted()

    run(demo())
    return 0


def _dev(options: argparse.Namespace) -> int:
    async def dev() -> None:
        async with _temporary_world(options.port) as world:
            tell(f"inbox server   {world.inbox_url}   (takes everyone)")
            tell(f"name service   {world.names_url}/v1/names/")
            tell(f"Gaia hub       {world.hub_url}   reads at {world.read_url}")
            for name in ("alice.id", "bob.id"):
                person = await world.settle(name, options.app)
                tell(f"\n{name} for {options.app}")
                tell(f"   app private key  {person.app_key.secret.hex()}")
                tell(f"   app public key   {person.app_key.public}")
                tell(f"   bucket           {world.read_url}{person.app_key.address}/")
            tell(f"\nIs it there?  curl {world.inbox_url}/.well-known/message-inbox")
            tell("How to sign tokens: docs/protocol.md")
            await _until_interrupted()

    run(dev())
    return 0


@contextlib.asynccontextmanager
async def _temporary_world(first_port: int) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="inbox-server-") as folder:
        async with running_world(Path(folder), clock=system_clock, first_port=first_port) as world:
            yield world


async def _until_interrupted() -> None:
    tell("\nCtrl-C stops it, and nothing is kept.")
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
    tell("")
