"""The hub's read side over HTTP, to which a bucket's URL leads."""

from email.utils import formatdate
from typing import Final

from aiohttp import web

from inbox_server.world.cors import open_to_pages
from inbox_server.world.express import as_express
from inbox_server.world.faults import Faults
from inbox_server.world.hub import Hub

_HUB: Final = web.AppKey("hub", Hub)


def make_reader(hub: Hub, faults: Faults) -> web.Application:
    cors = open_to_pages(methods="GET,HEAD,OPTIONS", exposed="Content-Type,ETag")
    app = web.Application(middlewares=[cors, as_express(hub.rules.is_express), faults.of_reads()])
    app[_HUB] = hub
    app.router.add_get(hub.rules.read_path + "{address:[a-zA-Z0-9]+}/{path:.+}", read)
    return app


async def read(request: web.Request) -> web.Response:
    """The file, or 304 for a client that already has it, if the rules support that."""
    hub, address = request.app[_HUB], request.match_info["address"]
    path = hub.path_of(request.match_info["path"])
    file = hub.read(address, path)
    if file is None:
        if hub.is_folder(address, path) and request.transport:
            request.transport.abort()
        return web.Response(status=404, text="File not found")
    headers = {
        "ETag": file.etag,
        "Last-Modified": formatdate(file.stored_at, usegmt=True),
        "Cache-Control": "no-cache",  # keep it, but ask again: that is what the ETag is for
    }
    if hub.rules.knows_not_modified and request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, headers={"Content-Type": file.content_type, **headers})
