"""The assembly: which concrete parts make up a server, and in which order they open and close.

This is the only place in the server that names them.
"""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Final

from aiohttp import web

from inbox_server.clock import Clock, system_clock
from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import Config
from inbox_server.config.secret import read_matrix_token
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
from inbox_server.http.routes import add_routes
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import SigningKey
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.follow import Following
from inbox_server.inboxes.log import Logs
from inbox_server.inboxes.on_host import OnHost
from inbox_server.inboxes.rate_limits import RateLimits
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.receipts import Receipts
from inbox_server.inboxes.settings import InboxSettings
from inbox_server.inboxes.sheets import Sheets
from inbox_server.inboxes.storing import Storing
from inbox_server.inboxes.subscriptions import Subscriptions
from inbox_server.inboxes.sweeping import sweeping
from inbox_server.inboxes.wakeups import Wakeups
from inbox_server.metrics import Metrics
from inbox_server.notify.channel import Channel, OwnerChannel
from inbox_server.notify.matrix import HomeServer, Matrix
from inbox_server.notify.owners import Owners
from inbox_server.notify.owners_webhook import OwnersWebhook
from inbox_server.notify.pauses import Pauses
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
from inbox_server.store.choosing import open_store
from inbox_server.store.contract import Store, quota_of

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
    host: OnHost | None = None,
) -> AsyncIterator[tuple[web.Application, Store]]:
    """The public application with everything behind it open. Raises `BadDatabase`.

    `secret` is the first one, and `layers` are those of later ones. `monotonic`, in seconds, and the newest time in the
    database are used to check the clock; without it, every time is accepted. `host` is what other server
    processes of this host count together with this one.
    """
    host = host or OnHost()
    hashes, wakeups, metrics = KeyedHash(secret), Wakeups(), Metrics()
    async with (
        open_store(
            config,
            check_value=hashes.check_value(),
            layers=layers,
            changed=wakeups.wake,
            committed=metrics.committed,
            watched=wakeups.inboxes,
            random_bytes=random_bytes,
            clock=clock,
        ) as store,
        open_fetcher(allow=config.outgoing_allow, guard=guard_with(config.outgoing_nat64)) as fetcher,
        # Slow channels must not delay look-ups, so they have a fetcher of their own.
        open_fetcher(allow=config.outgoing_allow, guard=guard_with(config.outgoing_nat64), keep=False) as telling,
        _notifying(config, telling, store, hashes, clock, random_bytes, host.pauses) as (schedule, subscriptions),
        _judging(store, clock, monotonic) as clock_guard,
        sweeping(store, clock_guard),
    ):
        resolver = CachedResolver(_chain(config, fetcher), clock, metrics.looked_up)
        app = web.Application(middlewares=[edge], client_max_size=MAX_SHEET_BYTES)
        app[CLOCK] = clock
        app[CLOCK_GUARD] = clock_guard
        app[CONFIG] = config
        rates = RateLimits(clock, random_bytes, host.counts, host.process)
        receipt_key = SigningKey.from_seed(hashes.receipt_seed())
        receipts = Receipts(receipt_key, origin=config.public_url, random_bytes=random_bytes)
        storing = Storing(store, config, metrics, schedule.soon, receipts)
        app[DELIVERIES] = Deliveries(store, resolver, hashes, rates, config, storing)
        app[SEALED_DELIVERIES] = SealedDeliveries(store, hashes, rates, config, storing)
        app[SHEETS] = Sheets(store, hashes, config)
        app[IS_OURS] = hosts_of(config)
        following = Following(store, wakeups, clock, random_bytes, lapsing=clock_guard.believed)
        app[INBOX_SETTINGS] = InboxSettings(store, resolver, hashes, config, random_bytes, subscriptions, host)
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
        "Erasing jobs whose bytes are not yet out of all files.",
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
    pauses: Pauses,
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

    opening = Schedule(channels, pace, random_bytes=random_bytes, monotonic=time.monotonic, pauses=pauses)
    async with opening as schedule:
        yield schedule, subscriptions
