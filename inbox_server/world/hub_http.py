"""The hub over HTTP, in the real hub's shapes: the write side, and the read side that a bucket's URL leads to."""

import json
from email.utils import formatdate
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from inbox_server.world.cors import open_to_pages
from inbox_server.world.hub import MAX_FILE_BYTES, Hub, StoredFile, check_path
from inbox_server.world.hub_tokens import CHALLENGE, check_token
from inbox_server.world.refusals import HubRefused

_MAX_LIST_BYTES: Final = 4096  # of a request, as the real hub has it

HUB: Final = web.AppKey("hub", Hub)


def make_hub(hub: Hub) -> web.Application:
    """The write side."""
    cors = open_to_pages(
        methods="DELETE,POST,GET,OPTIONS,HEAD", headers="Authorization,Content-Type,If-Match,If-None-Match"
    )
    app = web.Application(middlewares=[cors, _refusals], client_max_size=MAX_FILE_BYTES)
    app[HUB] = hub
    app.router.add_get("/hub_info", hub_info)
    app.router.add_get("/hub_info/", hub_info)
    app.router.add_post("/store/{address:[a-zA-Z0-9]+}/{path:.+}", store)
    app.router.add_delete("/delete/{address:[a-zA-Z0-9]+}/{path:.+}", delete)
    app.router.add_post("/list-files/{address:[a-zA-Z0-9]+}", list_files)
    app.router.add_post("/list-files/{address:[a-zA-Z0-9]+}/", list_files)
    return app


def make_reader(hub: Hub) -> web.Application:
    """The read side."""
    app = web.Application(middlewares=[open_to_pages(methods="GET,HEAD,OPTIONS", exposed="Content-Type,ETag")])
    app[HUB] = hub
    app.router.add_get("/hub/{address:[a-zA-Z0-9]+}/{path:.+}", read)
    return app


async def hub_info(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "challenge_text": CHALLENGE,
            "latest_auth_version": "v1",
            "max_file_upload_size_megabytes": MAX_FILE_BYTES >> 20,
            "read_url_prefix": request.app[HUB].read_url,
        }
    )


async def store(request: web.Request) -> web.Response:
    hub, address, path = _asked(request)
    with hub.working_on(address, path):
        _check_writer(request)
        check_path(path)
        match, none_match = (request.headers.get(name) or None for name in ("If-Match", "If-None-Match"))
        hub.check_condition(address, path, match=match, none_match=none_match)
        content_type = request.headers.get("Content-Type", "application/octet-stream")
        file = hub.store(address, path, await _content(request), content_type)
    return web.json_response({"publicURL": f"{hub.read_url}{address}/{path}", "etag": file.etag}, status=202)


async def delete(request: web.Request) -> web.Response:
    hub, address, path = _asked(request)
    with hub.working_on(address, path):
        _check_writer(request)
        check_path(path)
        hub.delete(address, path)
    return web.Response(status=202)


async def list_files(request: web.Request) -> web.Response:
    asked = await _list_request(request)
    _check_writer(request)
    listed = request.app[HUB].list(request.match_info["address"], asked.get("page"))
    entries = [_stat(path, file) if asked.get("stat") else path for path, file in listed.files.items()]
    return web.json_response({"entries": entries, "page": listed.next}, status=202)


async def read(request: web.Request) -> web.Response:
    hub, address, path = _asked(request)
    file = hub.read(address, path)
    if file is None:
        return web.Response(status=404, text="File not found")
    headers = {
        "ETag": file.etag,
        "Last-Modified": formatdate(file.stored_at, usegmt=True),
        "Cache-Control": "no-cache",  # keep it, but ask again: that is what the ETag is for
    }
    if request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, headers={"Content-Type": file.content_type, **headers})


def _asked(request: web.Request) -> tuple[Hub, str, str]:
    """The hub, the bucket's address, and the path without one slash at its end, which the real hub drops."""
    return request.app[HUB], request.match_info["address"], request.match_info["path"].removesuffix("/")


def _check_writer(request: web.Request) -> None:
    hub = request.app[HUB]
    authorization, address = request.headers.get("Authorization", ""), request.match_info["address"]
    check_token(authorization, address, write_url=hub.write_url, now=hub.clock())


async def _content(request: web.Request) -> bytes:
    """The body, refused before it is read when its stated length says enough."""
    if (request.content_length or 0) <= MAX_FILE_BYTES:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            pass
    raise HubRefused("PayloadTooLargeError", f"A file has at most {MAX_FILE_BYTES >> 20} megabytes")


async def _list_request(request: web.Request) -> dict[str, Any]:
    """`{"page": <mark or null>, "stat": <boolean>}`, both of which may be left out."""
    body = await request.read()
    if len(body) > _MAX_LIST_BYTES:
        raise _bad_json("too long")
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _bad_json("cannot be parsed") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("page") or "", str):
        raise _bad_json("not an object with a page")
    return asked


def _bad_json(what: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"message": f"Invalid JSON: {what}"}), content_type="application/json")


def _stat(path: str, file: StoredFile) -> dict[str, Any]:
    return {
        "name": path,
        "lastModifiedDate": file.stored_at,
        "contentLength": len(file.content),
        "etag": file.etag,
    }


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HubRefused as refusal:
        return web.json_response(refusal.document(), status=refusal.status)
