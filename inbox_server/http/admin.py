"""The admin listener: liveness, readiness and metrics. It is never exposed to the public."""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Final

from aiohttp import web

from inbox_server.clock_guard import ClockGuard
from inbox_server.errors import Unavailable
from inbox_server.http.answers import answer
from inbox_server.http.app_keys import CLOCK_GUARD, IS_OURS, METRICS
from inbox_server.http.edge import edge
from inbox_server.http.hosts import host_name, is_numeric_host
from inbox_server.metrics import CONTENT_TYPE, Metrics
from inbox_server.store.contract import Store

STORE: Final = web.AppKey("store", Store)


def make_admin_app(
    store: Store, metrics: Metrics, clock_guard: ClockGuard, hosts: Collection[str] = ()
) -> web.Application:
    """It answers requests for numeric addresses, localhost and these `hosts`, at any port."""
    app = web.Application(middlewares=[edge])
    app[CLOCK_GUARD] = clock_guard
    app[STORE] = store
    app[METRICS] = metrics
    app[IS_OURS] = is_ours(hosts)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", counts)
    return app


def is_ours(hosts: Collection[str]) -> Callable[[str], bool]:
    return lambda host: is_numeric_host(host) or host_name(host).lower() in hosts


async def health(_: web.Request) -> web.Response:
    """200 as long as the process answers at all."""
    return answer(200, {"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200 when the database can be read and written and the clock is trusted, else 503 or 507 with the reason.

    Where the database may have standbys, it also tells whether one of them has what was answered.
    """
    request.app[CLOCK_GUARD].dating()
    store = request.app[STORE]
    await store.ping()
    standby = await store.operating.standby()
    return answer(200, {"status": "ready"} | ({"standby": standby} if standby else {}))


async def counts(request: web.Request) -> web.Response:
    """Counts and sizes in Prometheus' text format."""
    with contextlib.suppress(Unavailable):  # the other numbers matter all the more then
        totals = await request.app[STORE].totals()
        request.app[METRICS].kept(**asdict(totals))
    return web.Response(body=request.app[METRICS].text(), headers={"Content-Type": CONTENT_TYPE})
