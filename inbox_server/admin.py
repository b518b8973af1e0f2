"""The admin listener: is the process up, and can it do its work. It is never exposed to the public."""

from typing import Final

from aiohttp import web

from inbox_server.peer import is_numeric_host
from inbox_server.store.contract import Store
from inbox_server.web import IS_OURS, answer, edge

STORE: Final = web.AppKey("store", Store)


def make_admin_app(store: Store) -> web.Application:
    app = web.Application(middlewares=[edge])
    app[STORE] = store
    app[IS_OURS] = is_numeric_host
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    return app


async def health(_: web.Request) -> web.Response:
    """200 while the process answers at all."""
    return answer(200, {"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200 when the database can be read and written, else 503 or 507 with the reason."""
    await request.app[STORE].ping()
    return answer(200, {"status": "ready"})
