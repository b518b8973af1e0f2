"""`inbox-server demo` and `inbox-server dev`: the local world."""

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from inbox_server.client.storage import write_new
from inbox_server.clock import system_clock
from inbox_server.commands.terminal import Commands, app_origin, bns_name, run, tell, whole
from inbox_server.world.demo import ALICE, APP, BOB, paste_commands, walk
from inbox_server.world.hub_rules import STRICT, HubRules
from inbox_server.world.local_world import PORTS, World, port_or_any, running_world
from inbox_server.world.page_server import BUNDLE, showing_page
from inbox_server.world.people import Person
from inbox_server.world.second_inbox import second_inbox

_WORLD_PORT: Final = 8720


def add_demo(commands: Commands) -> None:
    command = commands.add_parser(
        "demo",
        help="walk through the whole workflow with Alice and Bob on this machine",
        description="Start a small local world (name service, Gaia hub, inbox server), walk through the six steps in"
        " it, and serve a page on which two windows talk to each other.",
    )
    command.add_argument("--once", action="store_true", help="exit after the walk, with 0 only if every step succeeded")
    command.set_defaults(run=_demo)


def add_dev(commands: Commands) -> None:
    command = commands.add_parser(
        "dev",
        help="run the local world for developing an app without internet",
        description="Run a name service, a Gaia hub and an inbox server on loopback, with people in it who have names,"
        " published profiles, and buckets for your app, and a page where they talk. Everything is gone when it stops.",
    )
    command.add_argument(
        "--name",
        metavar="NAME",
        dest="names",
        type=bns_name,
        action="append",
        help="a person in it, such as carol.btc (repeatable; default: alice.id and bob.id)",
    )
    command.add_argument(
        "--app",
        metavar="ORIGIN",
        type=app_origin,
        default=APP,
        help=f"your app's origin; everybody gets an app key for it (default: {APP})",
    )
    command.add_argument(
        "--port",
        type=whole(0, 65536 - PORTS),
        default=_WORLD_PORT,
        help=f"the first of six ports (default: {_WORLD_PORT}; 0: any free ports)",
    )
    command.add_argument(
        "--strict-hub",
        action="store_true",
        help="make the Gaia hub as strict as a real one on a disk can be: it writes in place, and accepts only tokens"
        " that have its URL and an association token",
    )
    command.add_argument(
        "--json", action="store_true", help="print URLs and keys as one line of JSON, once everything is up"
    )
    command.set_defaults(run=_dev)


def _demo(options: argparse.Namespace) -> int:
    async def demo() -> None:
        first_port = 0 if options.once else port_or_any(_WORLD_PORT)
        async with _temporary_world(first_port) as world, contextlib.AsyncExitStack() as stack:
            if not options.once:
                await stack.enter_async_context(_second_inbox(world, first_port))
                page_url = await stack.enter_async_context(showing_page(world, _page_port(first_port)))
                tell(_invite_to(page_url))
            alice, bob = await walk(world, tell)
            if not options.once:
                tell("\nThe world stays up for playing. " + _invite_to(page_url))
                tell("Or paste into another terminal:\n")
                tell("\n".join(paste_commands(world, alice, bob)))
                tell("\nTo run your own: inbox-server init, then inbox-server serve.")
                await _until_interrupted()

    run(demo())
    return 0


def _dev(options: argparse.Namespace) -> int:
    names = dict.fromkeys(options.names or (ALICE, BOB))  # a name given twice is one person

    async def dev() -> None:
        async with (
            _temporary_world(options.port, STRICT if options.strict_hub else None) as world,
            _second_inbox(world, options.port),
            showing_page(world, _page_port(options.port)) as page_url,
        ):
            people = [await world.settle(name, options.app) for name in names]
            with tempfile.TemporaryDirectory(prefix="inbox-server-") as folder:
                if options.json:
                    tell(json.dumps(_described(world, options.app, people) | {"page_url": page_url}))
                else:
                    tell(_invite_to(page_url))
                    tell("\n".join(_told(world, people, Path(folder))))
                await _until_interrupted(say=not options.json)

    run(dev())
    return 0


def _page_port(first_port: int) -> int:
    return first_port and first_port + PORTS - 2


@contextlib.asynccontextmanager
async def _second_inbox(world: World, first_port: int) -> AsyncIterator[str]:
    """A second inbox server to move to, on the port after the page's."""
    port = first_port and _page_port(first_port) + 1
    with tempfile.TemporaryDirectory(prefix="inbox-server-") as folder:
        async with second_inbox(world, Path(folder), secrets.token_bytes(32), port) as url:
            yield url


def _invite_to(page_url: str) -> str:
    how = "" if BUNDLE.exists() else "\nIts client is not built yet: run `make page` in a checkout."
    return f"Open {page_url} in two windows, one for each person.{how}\n"


def _told(world: World, people: list[Person], folder: Path) -> Iterator[str]:
    """Write the association tokens into files in the folder: they are long, and `keygen` reads them from files."""
    yield f"inbox server   {world.inbox_url}   (accepts everyone)"
    for url in world.other_inboxes:
        yield f"another        {url}   (to move to)"
    yield f"name service   {world.names_url}/v1/names/   (for blockstack.js: {world.legacy_names_url})"
    yield f"Gaia hub       {world.hub_url}   reads at {world.read_url}"
    for person in people:
        yield f"\n{person.name} for {person.app}"
        yield f"   app private key  {person.app_key.secret.hex()}"
        yield f"   app public key   {person.app_key.public}"
        yield f"   bucket           {world.bucket_url(person)}"
        if token := world.association_token(person):
            write_new(folder / f"{person.name}.token", token.encode())
            yield f"   association      {folder / person.name}.token"
    if world.hub.rules.has_whitelist:
        yield "\nThis hub accepts only writes with an association token: keygen --association-token FILE in Python,"
        yield "`associationToken` in clients/js, `gaiaAssociationToken` of the user data in @stacks/storage."
    yield f"\nIs it there?  curl {world.inbox_url}/.well-known/message-inbox"
    yield "How to sign tokens: docs/protocol.md"


def _described(world: World, app: str, people: list[Person]) -> dict[str, Any]:
    """The same as JSON, for a script."""
    return {
        "inbox_url": world.inbox_url,
        "second_inbox_url": next(iter(world.other_inboxes)),
        "names_url": world.names_url,
        "legacy_names_url": world.legacy_names_url,
        "hub_url": world.hub_url,
        "read_url": world.read_url,
        "app": app,
        "people": [
            {
                "name": person.name,
                "app_private_key": person.app_key.secret.hex(),
                "app_public_key": person.app_key.public,
                "bucket_url": world.bucket_url(person),
                **({"association_token": token} if (token := world.association_token(person)) else {}),
            }
            for person in people
        ],
    }


@contextlib.asynccontextmanager
async def _temporary_world(first_port: int, rules: HubRules | None = None) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="inbox-server-") as folder:
        async with running_world(Path(folder), clock=system_clock, first_port=first_port, rules=rules) as world:
            yield world


async def _until_interrupted(*, say: bool = True) -> None:
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):  # before the output, as a fast script may answer it with a signal
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    if say:
        tell("\nCtrl-C stops it; nothing is kept.")
    await stop.wait()
    if say:
        tell("")
