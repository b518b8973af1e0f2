"""The demo's page: each person of the local world in a window, and beside them what the server holds.

It hands out private keys. They are thrown away with the world and open nothing else, but while it runs, anybody who
has them can act as Alice. So only this page may read them. It answers only if its host is a numeric loopback address:
otherwise any site could point a name of its own at 127.0.0.1 and read the keys. It lets no other origin in (no CORS,
and `Cross-Origin-Resource-Policy`), and its Content-Security-Policy allows only the scripts beside it.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from inbox_server.http.listening import listening
from inbox_server.world.evidence import find_marks, marks_of, read_tables
from inbox_server.world.local_world import World, bind

_FOLDER: Final = Path(__file__).with_name("page")
BUNDLE: Final = _FOLDER / "inbox-client.js"
"""The client of `clients/js` in one file, which `make page` builds: nothing that is built is committed."""
NOT_BUILT: Final = (
    "The page's client is not built yet. Run `make page` in a checkout of inbox-server, then reload the page.\n"
    "Installed with pip? Then install a release, whose wheel has the page in it.\n"
    "Why: nothing generated is kept in the repository. It is built from clients/js with npm, which needs a network\n"
    "once; the demo itself needs Python only.\n"
)
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HOST: Final = re.compile(r"(?:\[([0-9a-f:]+)\]|([0-9.]+))(?::\d+)?", re.IGNORECASE)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # `connect-src` is wide because a person may type any inbox server into the settings; no script but ours runs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' http: https:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_WORLD: Final = web.AppKey("world", World)
_BUNDLE: Final = web.AppKey("bundle", Path)


@contextlib.asynccontextmanager
async def showing_page(world: World, port: int, *, bundle: Path = BUNDLE) -> AsyncIterator[str]:
    """Serve the page; yields its URL. 0 lets the system choose a port. Raises `PortsTaken`."""
    with bind(port) as bound:
        async with listening(make_page(world, bundle=bundle), bound) as (url,):
            yield url + "/"


def make_page(world: World, *, bundle: Path = BUNDLE) -> web.Application:
    app = web.Application(middlewares=[_for_this_machine])
    app[_WORLD] = world
    app[_BUNDLE] = bundle
    app.router.add_get("/", get_index)
    app.router.add_get("/world.json", get_world)
    app.router.add_get("/rows.json", get_rows)
    app.router.add_get(f"/{BUNDLE.name}", get_bundle)
    app.router.add_get(r"/{name:[a-z]+\.(?:css|js)}", get_file)
    return app


async def get_index(_: web.Request) -> web.StreamResponse:
    return _file(_FOLDER / "index.html")


async def get_file(request: web.Request) -> web.StreamResponse:
    return _file(_FOLDER / request.match_info["name"])


async def get_bundle(request: web.Request) -> web.StreamResponse:
    bundle = request.app[_BUNDLE]
    return _file(bundle) if bundle.is_file() else web.Response(status=404, text=NOT_BUILT)


async def get_world(request: web.Request) -> web.Response:
    """The world's URLs, its people, and their keys."""
    world = request.app[_WORLD]
    people = [
        {
            "name": person.name,
            "app": person.app,
            "app_private_key": person.app_key.secret.hex(),
            "address": person.app_key.address,
            "association_token": world.association_token(person),
        }
        for person in world.people
    ]
    places = {
        "inbox_url": world.inbox_url,
        "inbox_urls": [world.inbox_url, *world.other_inboxes],
        "names_url": world.names_url,
        "hub_url": world.hub_url,
    }
    return web.json_response({**places, "client_is_built": request.app[_BUNDLE].is_file(), "people": people})


async def get_rows(request: web.Request) -> web.Response:
    """What an inbox server's database holds now, and whether its files contain anybody's names or keys."""
    world = request.app[_WORLD]
    data_dirs = {world.inbox_url: world.data_dir, **world.other_inboxes}
    inbox_url = request.query.get("inbox", world.inbox_url)
    if inbox_url not in data_dirs:
        raise web.HTTPNotFound(text="There is no such inbox server in this world.\n")
    rows = await asyncio.to_thread(_read_rows, world, data_dirs[inbox_url])
    told = world.witness.told if inbox_url == world.inbox_url else {}
    return web.json_response({**rows, "told": {way: delivery.says() for way, delivery in told.items()}})


def _read_rows(world: World, data_dir: Path) -> dict[str, Any]:
    marks = marks_of(world.people, (), world)
    return {
        "tables": [dataclasses.asdict(table) for table in read_tables(data_dir)],
        "searched_for": len(marks),
        "found": find_marks(data_dir, marks),
    }


def _file(path: Path) -> web.StreamResponse:
    if not path.is_file():
        raise web.HTTPNotFound(text="There is nothing at this path.\n")
    response = web.FileResponse(path)
    response.content_type = _TYPES[path.suffix]
    response.charset = "utf-8"
    return response


@web.middleware
async def _for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not _is_loopback(request.headers.get("Host", "")):
        text = "This page holds private keys, so it answers only to a numeric loopback address: http://127.0.0.1:…/\n"
        response: web.StreamResponse = web.Response(status=421, text=text)
    else:
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            # Returned, not raised: `listening` treats an exception from an application as a malformed request.
            response = web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
    response.headers.update(_HEADERS)
    return response


def _is_loopback(host: str) -> bool:
    numeric = _HOST.fullmatch(host)
    try:
        return numeric is not None and ipaddress.ip_address(numeric[1] or numeric[2]).is_loopback
    except ValueError:
        return False
