"""A server as a process: where it listens, what signals and systemd tell it, how it starts and stops."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

from aiohttp import web

from inbox_server.clock import Clock, system_clock
from inbox_server.config.config import BadConfig, Config, Listen, Tcp, Unix
from inbox_server.config.file import NOT_LOOPBACK, adopt, is_private
from inbox_server.config.secret import Secret
from inbox_server.errors import Unavailable
from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import CLOCK_GUARD, DELIVERIES, METRICS
from inbox_server.http.listening import listening
from inbox_server.http.operator_socket import listening_for_operator
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.inboxes.operator_commands import OperatorCommands
from inbox_server.server import RELOADED, open_app
from inbox_server.store.choosing import holding_data_dir
from inbox_server.store.contract import Store
from inbox_server.store.sqlite.rekeying import finish_rotation
from inbox_server.systemd import giving_signs_of_life, inherited_sockets, notify


@contextlib.asynccontextmanager
async def running(
    config: Config,
    secret: bytes,
    *,
    layers: Layers = ONLY_ONE,
    clock: Clock = system_clock,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[tuple[web.Application, list[str], list[str]]]:
    """A server that listens: its application, and the URLs of its public and admin listeners.

    Sockets that systemd holds take the place of those in the configuration. It stops gracefully when the context ends.
    """
    inherited, inherited_admin = inherited_sockets(environment, os.getpid())
    for each in (*inherited, *inherited_admin):
        if not config.behind_proxy and not is_private(_place(each)):
            raise BadConfig([f"systemd's socket at {each.getsockname()[0]} {NOT_LOOPBACK}"])
    opening = open_app(config, secret, layers=layers, clock=clock, monotonic=time.monotonic)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(holding_data_dir(config))
        app, store = await stack.enter_async_context(opening)
        public = await stack.enter_async_context(listening(app, *(inherited or (config.listen,))))
        admin: list[str] = []
        if admin_listens := inherited_admin or ((config.admin_listen,) if config.admin_listen else ()):
            admin_app = make_admin_app(store, app[METRICS], app[CLOCK_GUARD], config.admin_hosts)
            admin = await stack.enter_async_context(listening(admin_app, *admin_listens))
        if not config.store_url:  # PostgreSQL takes what the operator wants of anybody, without asking a server
            commands, token = OperatorCommands(store.operating, clock), KeyedHash(secret).operator_token()
            await stack.enter_async_context(listening_for_operator(config.data_dir, commands, token, app[METRICS]))
        await stack.enter_async_context(giving_signs_of_life(environment, os.getpid(), partial(_touch, store)))
        yield app, public, admin


def _place(inherited: socket.socket) -> Listen:
    address = inherited.getsockname()
    return Unix(Path(address)) if inherited.family == socket.AF_UNIX else Tcp(*address[:2])


async def _touch(store: Store) -> None:
    """Comes back when the database answers, with whatever answer: a restart does not help against a full disk."""
    with contextlib.suppress(Unavailable):
        await store.ping()


async def serve(
    config: Config, secret: Secret, *, announce: Callable[[str], None], reread: Callable[[], Config]
) -> None:
    """Run until SIGTERM or SIGINT, then finish what was begun and stop. First, finish a rotation of the secret.

    SIGUSR1 confirms that the clock is right; SIGHUP reloads the configuration.
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
    async with running(config, secret.first, layers=secret.layers) as (app, public, admin):
        loop.add_signal_handler(signal.SIGUSR1, app[CLOCK_GUARD].trust)
        loop.add_signal_handler(signal.SIGHUP, _reload, config, reread, app[RELOADED], announce)
        gc.freeze()  # objects made so far stay: scanning them again and again costs a tenth of the time
        announce(f"inbox-server for {config.public_url} listens at {', '.join(public)}")
        if admin:
            announce(f"health, readiness and metrics at {', '.join(admin)}")
        if app[DELIVERIES].draining:
            announce("draining: no delivery and no claim is taken until `inbox-server drain --end`")
        notify(os.environ, "READY=1")
        await stop.wait()
        notify(os.environ, "STOPPING=1")
        announce("stopping")


def _reload(
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
