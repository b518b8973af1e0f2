"""The assembly: which concrete parts make up a server, in which order they open and close, and how it runs.

This is the only place in the server that names them.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from inbox_server.clock import Clock, system_clock
from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import BadConfig, Config, Listen, Tcp, Unix
from inbox_server.config.file import NOT_LOOPBACK, adopt, is_private
from inbox_server.config.secret import Secret, read_matrix_token
from inbox_server.errors import Unavailable
from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import (
    CLOCK,
    CLOCK_GUARD,
    CONFIG,
    DELIVERIES,
    INBOX_SETTINGS,
    IS_OURS,
    LOGS,
    METRICS,
    READING,
    RECEIPT_KEY,
    SEALED_DELIVERIES,
    SHEETS,
    SUBSCRIPTIONS,
)
from inbox_server.http.edge import edge
from inbox_server.http.hosts import hosts_of
from inbox_server.http.listening import listening
from inbox_server.http.operator_socket import listening_for_operator
from inbox_server.http.routes import add_routes
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.follow import Following
from inbox_server.inboxes.log import Logs
from inbox_server.inboxes.operator_commands import OperatorCommands
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.receipts import Receipts
from inbox_server.inboxes.settings import InboxSettings
from inbox_server.inboxes.sheets import Sheets
from inbox_server.inboxes.subscriptions import Subscriptions
from inbox_server.inboxes.sweeping import sweeping
from inbox_server.inboxes.wakeups import Wakeups
from inbox_server.metrics import Metrics
from inbox_server.notify.channel import Channel, OwnerChannel
from inbox_server.notify.matrix import HomeServer, Matrix
from inbox_server.notify.owners import Owners
from inbox_server.notify.owners_webhook import OwnersWebhook
from inbox_server.notify.schedule import Pace, Schedule
from inbox_server.notify.sealing import Sealer
from inbox_server.notify.vapid import VapidKey
from inbox_server.notify.webhook import Webhook
from inbox_server.notify.webpush import WebPush
from inbox_server.outgoing.fetch import Fetcher, open_fetcher
from inbox_server.outgoing.guard import guard_with
from inbox_server.protocol.tickets import MAX_SHEET_BYTES
from inbox_server.resolver.cache import CachedResolver
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.service import NameServices
from inbox_server.store.contract import Store, quota_of
from inbox_server.store.sqlite.opening import open_store
from inbox_server.store.sqlite.rekeying import finish_rotation
from inbox_server.systemd import giving_signs_of_life, inherited_sockets, notify

RELOADED: Final = web.AppKey[Callable[[], None]]("reloaded")
"""Call these when the configuration has new values: most parts read it each time, but some do not."""
WAKEUPS: Final = web.AppKey("wakeups", Wakeups)


@contextlib.asynccontextmanager
async def open_app(
    config: Config,
    secret: bytes,
    *,
    layers: Layers = ONLY_ONE,
    clock: Clock = system_clock,
    monotonic: Callable[[], float] | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> AsyncIterator[tuple[web.Application, Store]]:
    """The public application with everything behind it open. Raises `BadDatabase`.

    `secret` is the first one, and `layers` are those of later ones. `monotonic`, in seconds, and the newest time in the
    database are used to check the clock; without it, every time is accepted.
    """
    hashes, wakeups, metrics = KeyedHash(secret), Wakeups(), Metrics()
    async with (
        open_store(
            config.data_dir,
            check_value=hashes.check_value(),
            layers=layers,
            quota=quota_of(config),
            changed=wakeups.wake,
            committed=metrics.committed,
            random_bytes=random_bytes,
        ) as store,
        open_fetcher(allow=config.outgoing_allow, guard=guard_with(config.outgoing_nat64)) as fetcher,
        # Slow channels must not delay look-ups, so they have a fetcher of their own.
        open_fetcher(allow=config.outgoing_allow, guard=guard_with(config.outgoing_nat64), keep=False) as telling,
        _notifying(config, telling, store, hashes, clock, random_bytes) as (schedule, subscriptions),
        _judging(store, clock, monotonic) as clock_guard,
        sweeping(store, clock_guard),
    ):
        resolver = CachedResolver(_chain(config, fetcher), clock, metrics.looked_up)
        app = web.Application(middlewares=[edge], client_max_size=MAX_SHEET_BYTES)
        app[CLOCK] = clock
        app[CLOCK_GUARD] = clock_guard
        app[CONFIG] = config
        rates = RateLimits(clock, random_bytes)
        receipt_key = SigningKey.from_seed(hashes.receipt_seed())
        receipts = Receipts(receipt_key, origin=config.public_url, random_bytes=random_bytes)
        app[DELIVERIES] = Deliveries(store, resolver, hashes, rates, config, metrics, schedule.soon, receipts)
        app[SEALED_DELIVERIES] = SealedDeliveries(store, hashes, rates, config, metrics, schedule.soon, receipts)
        app[SHEETS] = Sheets(store, hashes, config)
        app[IS_OURS] = hosts_of(config)
        following = Following(store, wakeups, clock, random_bytes, lapsing=clock_guard.believed)
        app[INBOX_SETTINGS] = InboxSettings(store, resolver, hashes, config, random_bytes, subscriptions)
        app[SUBSCRIPTIONS] = subscriptions
        app[READING] = Reading(store, following, hashes, audience=config.public_url)
        app[LOGS] = Logs(store, hashes, receipt_key, origin=config.public_url)
        app[RECEIPT_KEY] = receipt_key.public
        app[METRICS] = metrics
        app[WAKEUPS] = wakeups
        _watch(metrics, store, resolver, app[READING], hashes, wakeups, schedule)
        add_routes(app, subscriptions)

        def reloaded() -> None:
            store.limit(quota_of(config))
            resolver.ask(_chain(config, fetcher))

        app[RELOADED] = reloaded
        app.on_shutdown.append(_end_waiting)
        yield app, store


def _chain(config: Config, fetcher: Fetcher) -> ChainResolver:
    names = NameServices(fetcher, config.name_services, agreement=config.agreement)
    return ChainResolver(fetcher, names, config.static)


def _watch(
    metrics: Metrics,
    store: Store,
    resolver: CachedResolver,
    reading: Reading,
    hashes: KeyedHash,
    wakeups: Wakeups,
    schedule: Schedule,
) -> None:
    metrics.watch("inbox_write_queue", "Works that wait for a commit.", lambda: store.load().waiting)
    metrics.watch(
        "inbox_remnants_pending",
        "Erasing works whose bytes are not yet out of all files.",
        lambda: store.load().remnants,
    )
    metrics.watch("inbox_draining", "1 while the server takes nothing new.", lambda: store.operating.draining)
    metrics.watch("inbox_waiting_readers", "Held answers and open event streams.", lambda: len(wakeups))
    metrics.watch(
        "inbox_cache_entries",
        "What is remembered in memory.",
        lambda: {
            **resolver.remembered(),
            **reading.remembered(),
            **hashes.remembered(),
            "feed_ends": store.load().feed_ends,
            "policies": store.load().policies,
            "sheets": store.load().sheets,
        },
        labels=("cache",),
    )
    metrics.watch(
        "inbox_notifications",
        "What became of notifications, by channel.",
        lambda: {
            (channel, outcome): count
            for channel, tally in schedule.tallies().items()
            for outcome, count in asdict(tally).items()
        },
        labels=("channel", "outcome"),
        counts=True,
    )


async def _end_waiting(app: web.Application) -> None:
    app[WAKEUPS].stop()


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
    async with opening as (app, store), contextlib.AsyncExitStack() as stack:
        public = await stack.enter_async_context(listening(app, *(inherited or (config.listen,))))
        admin: list[str] = []
        if admin_listens := inherited_admin or ((config.admin_listen,) if config.admin_listen else ()):
            admin_app = make_admin_app(store, app[METRICS], app[CLOCK_GUARD], config.admin_hosts)
            admin = await stack.enter_async_context(listening(admin_app, *admin_listens))
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


@contextlib.asynccontextmanager
async def _judging(store: Store, clock: Clock, monotonic: Callable[[], float] | None) -> AsyncIterator[ClockGuard]:
    yield ClockGuard(clock, monotonic, await store.seen()) if monotonic else ClockGuard(clock, clock, None)


def owner_channels(
    config: Config, fetcher: Fetcher, hashes: KeyedHash, clock: Clock, random_bytes: Callable[[int], bytes]
) -> Iterator[OwnerChannel]:
    """Those to which owners can subscribe here. Raises `BadSecret` when the token of one cannot be read."""
    vapid = VapidKey(hashes.vapid_seed(), subject=config.public_url, clock=clock)
    yield WebPush(fetcher, vapid, random_bytes, allow=config.outgoing_allow)
    yield OwnersWebhook(fetcher, allow=config.outgoing_allow)
    if config.matrix_homeserver:
        token = read_matrix_token(config.matrix_token_file)
        home = HomeServer(fetcher, config.matrix_homeserver, token)
        yield Matrix(home, config, hashes, clock=clock, monotonic=time.monotonic)


@contextlib.asynccontextmanager
async def _notifying(
    config: Config,
    fetcher: Fetcher,
    store: Store,
    hashes: KeyedHash,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> AsyncIterator[tuple[Schedule, dict[str, Subscriptions]]]:
    """Every configured channel, and by their names the subscriptions of those that owners subscribe to."""
    channels: list[Channel] = []
    subscriptions = {}
    for channel in owner_channels(config, fetcher, hashes, clock, random_bytes):
        sealer = Sealer(hashes.sealing_key(channel.kind.name), channel.kind, random_bytes)
        channels.append(Owners(channel, sealer, store))
        subscriptions[channel.kind.name] = Subscriptions(channel, sealer, store, hashes, config)
    if config.webhook_url:
        channels.append(Webhook(fetcher, config.webhook_url, config.webhook_authorization))

    def pace() -> Pace:
        return Pace(config.hint_pause_seconds, config.hint_jitter_seconds)

    async with Schedule(channels, pace, random_bytes=random_bytes, monotonic=time.monotonic) as schedule:
        yield schedule, subscriptions


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
