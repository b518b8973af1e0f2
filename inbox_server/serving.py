"""A server as a process: where it listens, what signals and systemd tell it, how it starts and stops."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

from aiohttp import web

from inbox_server.clock import Clock, system_clock
from inbox_server.config.config import BadConfig, Config
from inbox_server.config.file import adopt
from inbox_server.config.secret import Secret
from inbox_server.errors import Unavailable
from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import CLOCK_GUARD, DELIVERIES, METRICS
from inbox_server.http.host_admin import make_host_admin_app
from inbox_server.http.listening import listening, listening_at
from inbox_server.http.operator_socket import listening_for_operator
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.inboxes.operator_commands import OperatorCommands
from inbox_server.processes.member import Member
from inbox_server.processes.places import places_of
from inbox_server.server import RELOADED, open_app
from inbox_server.store.choosing import holding_data_dir
from inbox_server.store.contract import Store
from inbox_server.store.sqlite.rekeying import finish_rotation
from inbox_server.systemd import READY, STOPPING, giving_signs_of_life, notify, watchdog_seconds


@contextlib.asynccontextmanager
async def running(
    config: Config,
    secret: bytes,
    *,
    layers: Layers = ONLY_ONE,
    clock: Clock = system_clock,
    environment: Mapping[str, str] = os.environ,
    member: Member | None = None,
) -> AsyncIterator[tuple[web.Application, list[str], list[str]]]:
    """A server that listens: its application, and the URLs of its public and admin listeners.

    `member` is there if it is one of several processes. It stops gracefully when the context ends.
    """
    places = member.places if member else places_of(config, environment)
    host = member.host if member else None
    opening = open_app(config, secret, layers=layers, clock=clock, monotonic=time.monotonic, host=host)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(holding_data_dir(config))
        app, store = await stack.enter_async_context(opening)
        public = await stack.enter_async_context(listening(app, *places.public))
        admin_app = make_admin_app(store, app[METRICS], app[CLOCK_GUARD], config.admin_hosts)
        if member:
            await stack.enter_async_context(listening_at(member.own_socket, admin_app))
            admin_app = make_host_admin_app(member.sockets, app[METRICS], config.admin_hosts)
        admin = await stack.enter_async_context(listening(admin_app, *places.admin))
        if not config.store_url:  # PostgreSQL takes what the operator wants of anybody, without asking a server
            commands, token = OperatorCommands(store.operating, clock), KeyedHash(secret).operator_token()
            await stack.enter_async_context(listening_for_operator(config.data_dir, commands, token, app[METRICS]))
        seconds, tell = _watchdog(environment, member)
        await stack.enter_async_context(giving_signs_of_life(seconds, partial(_touch, store), tell))
        yield app, public, admin


def _watchdog(environment: Mapping[str, str], member: Member | None) -> tuple[float | None, Callable[[str], None]]:
    """How often a sign of life is wanted, and how to tell whoever watches this process: its parent, or systemd."""
    if member:
        return member.watchdog_seconds, member.line.tell
    return watchdog_seconds(environment, os.getpid()), partial(notify, environment)


async def _touch(store: Store) -> None:
    """Comes back when the database answers, with whatever answer: a restart does not help against a full disk."""
    with contextlib.suppress(Unavailable):
        await store.ping()


async def serve(
    config: Config,
    secret: Secret,
    *,
    announce: Callable[[str], None],
    reread: Callable[[], Config],
    member: Member | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then finish what was begun and stop. First, finish a rotation of the secret.

    SIGUSR1 confirms that the clock is right; SIGHUP reloads the configuration. `member` is there if this is one of
    several processes; it stops when its parent is gone, too.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(each, signal.SIG_IGN)  # otherwise they end a process that is not ready for them yet
    check_value = secret.hashes().check_value()  # SIGTERM ends the next line at once, and nothing has changed then
    if not config.store_url:
        await finish_rotation(config.data_dir, check_value=check_value, layers=secret.layers, announce=announce)
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    if member:
        loop.add_reader(member.line.socket, stop.set)  # the parent says nothing, so it has ended
    _, tell = _watchdog(os.environ, member)
    async with running(config, secret.first, layers=secret.layers, member=member) as (app, public, admin):
        loop.add_signal_handler(signal.SIGUSR1, app[CLOCK_GUARD].trust)
        loop.add_signal_handler(signal.SIGHUP, reload, config, reread, app[RELOADED], announce)
        gc.freeze()  # objects made so far stay: scanning them again and again costs a tenth of the time
        announce(f"inbox-server for {config.public_url} listens at {', '.join(public)}")
        if admin:
            announce(f"health, readiness and metrics at {', '.join(admin)}")
        if app[DELIVERIES].draining:
            announce("draining: no delivery and no claim is taken until `inbox-server drain --end`")
        tell(READY)
        await stop.wait()
        tell(STOPPING)
        announce("stopping")


def reload(
    config: Config, reread: Callable[[], Config], reloaded: Callable[[], None], announce: Callable[[str], None]
) -> None:
    """Adopt what can change; a file with mistakes changes nothing."""
    try:
        taken, left = adopt(config, reread())
    except BadConfig as error:
        announce(f"not reloaded, and nothing was changed:\n{error}")
        return
    reloaded()
    announce(f"reloaded: {', '.join(taken)}" if taken else "reloaded, and nothing takes effect that did not before")
    if left:
        announce(f"takes effect only after a restart: {', '.join(left)}")
