"""The local world, running: four HTTP servers on loopback, each on its own port, and the inbox on a SQLite file."""

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from inbox_server.client.bucket import open_bucket
from inbox_server.client.user import AppUser
from inbox_server.clock import Clock
from inbox_server.config.config import Config
from inbox_server.config.file import parse_config
from inbox_server.errors import CommandFailed
from inbox_server.http.listening import listening
from inbox_server.outgoing.fetch import open_fetcher
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.service import NameServices
from inbox_server.server import open_app
from inbox_server.store.contract import Store
from inbox_server.world.faults import Faults
from inbox_server.world.hub import Hub
from inbox_server.world.hub_http import make_hub
from inbox_server.world.hub_reader import make_reader
from inbox_server.world.hub_rules import HubRules
from inbox_server.world.name_service import LEGACY, NameRegister, make_name_service
from inbox_server.world.people import Person, make_association_token, make_person, settle_person
from inbox_server.world.witness import Witness

_SERVERS: Final = 4  # inbox, names, hub, reader: on four ports in a row
PORTS: Final = _SERVERS + 2  # then, for people, the page and a second inbox server (second_inbox.py)


class PortsTaken(CommandFailed):
    """A port is in use; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class World:
    """The URLs of everything. They have no slash at the end, except `read_url`, which is a prefix."""

    inbox_url: str
    names_url: str
    hub_url: str
    read_url: str
    data_dir: Path
    register: NameRegister
    hub: Hub
    faults: Faults
    store: Store
    session: aiohttp.ClientSession
    clock: Clock
    people: list[Person] = field(default_factory=list)
    """The people who were settled, in this order."""
    witness: Witness = field(default_factory=Witness)
    """What the inbox server was told of its last deliveries."""
    other_inboxes: dict[str, Path] = field(default_factory=dict)
    """More inbox servers in it (second_inbox.py), by URL, with the folder of each one's files."""

    @property
    def legacy_names_url(self) -> str:
        """For clients that are older than the Stacks API."""
        return self.names_url + LEGACY

    @property
    def reader_origin(self) -> str:
        """The read side's origin, without the prefix's path."""
        return self.read_url.removesuffix(self.hub.rules.read_path)

    def bucket_url(self, person: Person) -> str:
        """The URL of the person's bucket for the app."""
        return f"{self.read_url}{person.app_key.address}/"

    def association_token(self, person: Person) -> str | None:
        """What the person's app needs for writing if the hub has a whitelist."""
        if not self.hub.rules.has_whitelist:
            return None
        return make_association_token(person, self.clock(), secrets.token_bytes)

    async def settle(self, name: str, app: str) -> Person:
        """A new person with a name and a published profile, but no inbox and nothing in the app's bucket."""
        person = make_person(name, app, secrets.token_bytes)
        await settle_person(
            person,
            session=self.session,
            register=self.register,
            hub=self.hub,
            now=self.clock(),
            random_bytes=secrets.token_bytes,
        )
        self.people.append(person)
        return person

    @contextlib.asynccontextmanager
    async def user(self, person: Person) -> AsyncIterator[AppUser]:
        """The person's app, ready to act."""
        async with open_fetcher(allow=frozenset({self.reader_origin})) as fetcher:
            bucket = await open_bucket(
                self.session,
                self.hub_url,
                person.app_key,
                secrets.token_bytes(16),
                association=self.association_token(person),
                clock=self.clock,
            )
            names = NameServices(fetcher, (self.names_url,), agreement=False)
            resolver = ChainResolver(fetcher, names, ())
            yield AppUser(
                person.name, person.app, person.app_key, bucket, resolver, fetcher, self.clock, secrets.token_bytes
            )


@contextlib.asynccontextmanager
async def running_world(
    data_dir: Path,
    *,
    clock: Clock,
    first_port: int = 0,
    secret: bytes | None = None,
    client_address: str | None = None,
    rules: HubRules | None = None,
) -> AsyncIterator[World]:
    """Run it on `first_port` and the three after it; 0 lets the system choose. Raises `PortsTaken`.

    `client_address` is the address that people in it call from, if not 127.0.0.1. `rules` make the hub stricter
    (`hub_rules.py`); `World.faults` lets things go wrong while it runs (`faults.py`).
    """
    register, hub, faults = NameRegister(), Hub(clock, rules=rules), Faults(clock)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(bind(first_port and first_port + i)) for i in range(_SERVERS)]
        inbox_url, names_url, hub_url, reader_url = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets)
        hub.write_url, hub.read_url = hub_url, reader_url + hub.rules.read_path
        config = world_config(data_dir, inbox_url, names_url, reader_url)
        inbox_app, store = await stack.enter_async_context(
            open_app(config, secret or secrets.token_bytes(32), clock=clock)
        )
        witness = Witness()
        witness.watch(inbox_app)
        apps = (inbox_app, make_name_service(register, faults), make_hub(hub, faults), make_reader(hub, faults))
        for app, each in zip(apps, sockets, strict=True):
            await stack.enter_async_context(listening(app, each))
        connector = aiohttp.TCPConnector(local_addr=(client_address, 0) if client_address else None)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        urls = (inbox_url, names_url, hub_url, hub.read_url)
        yield World(*urls, data_dir, register, hub, faults, store, session, clock, witness=witness)


def world_config(data_dir: Path, inbox_url: str, names_url: str, reader_url: str) -> Config:
    """An inbox server that accepts everyone and looks names up only in this world."""
    document = {
        "server": {"public_url": inbox_url, "data_dir": str(data_dir), "admin_listen": ""},
        "names": {"services": [names_url]},
        "registration": {"mode": "open", "open_to_keys": True},
        "outgoing": {"allow": [reader_url]},
    }
    return parse_config(document, data_dir.parent)


def port_or_any(first_port: int) -> int:
    """`first_port` if it and the five after it are free now, else 0."""
    with contextlib.ExitStack() as stack:
        try:
            for port in range(first_port, first_port + PORTS):
                stack.enter_context(bind(port))
        except PortsTaken:
            return 0
    return first_port


def free_socket() -> socket.socket:
    """A socket bound to a free port on loopback."""
    return bind(0)


def bind(port: int) -> socket.socket:
    """A socket on a loopback port; 0 lets the system choose. Raises `PortsTaken`."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise PortsTaken(f"port {port} on 127.0.0.1 is in use; choose others with --port") from None
    return bound
