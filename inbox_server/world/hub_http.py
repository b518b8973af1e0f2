"""The hub's write side over HTTP, in the real hub's shapes."""

import json
from email.utils import formatdate
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from inbox_server.clock import UnixTime
from inbox_server.world.cors import open_to_pages
from inbox_server.world.express import as_express
from inbox_server.world.faults import Faults
from inbox_server.world.hub import MAX_FILE_BYTES, Hub, StoredFile, check_path
from inbox_server.world.hub_refusals import HubRefused
from inbox_server.world.hub_tokens import check_token

_MAX_JSON_BYTES: Final = 4096  # of a request, as the real hub has it

HUB: Final = web.AppKey("hub", Hub)


def make_hub(hub: Hub, faults: Faults) -> web.Application:
    cors = open_to_pages(
        methods="DELETE,POST,GET,OPTIONS,HEAD", headers="Authorization,Content-Type,If-Match,If-None-Match"
    )
    middlewares = [cors, as_express(hub.rules.is_express), _refusals, faults.of_writes()]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_FILE_BYTES)
    app[HUB] = hub
    app.router.add_get("/hub_info", hub_info)
    app.router.add_get("/hub_info/", hub_info)
    app.router.add_post("/store/{address:[a-zA-Z0-9]+}/{path:.+}", store)
    app.router.add_delete("/delete/{address:[a-zA-Z0-9]+}/{path:.+}", delete)
    app.router.add_post("/list-files/{address:[a-zA-Z0-9]+}", list_files)
    app.router.add_post("/list-files/{address:[a-zA-Z0-9]+}/", list_files)
    app.router.add_post("/revoke-all/{address:[a-zA-Z0-9]+}", revoke_all)
    app.router.add_post("/revoke-all/{address:[a-zA-Z0-9]+}/", revoke_all)
    return app


async def hub_info(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "challenge_text": request.app[HUB].challenge,
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
        hub.check_folders(address, path)
        match, none_match = (request.headers.get(name) or None for name in ("If-Match", "If-None-Match"))
        hub.check_condition(address, path, match=match, none_match=none_match)
        file = hub.store(address, path, await _content(request), _content_type(request))
    return web.json_response({"publicURL": f"{hub.read_url}{address}/{path}", "etag": file.etag}, status=202)


async def delete(request: web.Request) -> web.Response:
    hub, address, path = _asked(request)
    with hub.working_on(address, path):
        _check_writer(request)
        check_path(path)
        hub.delete(address, path)
    return web.Response(status=202)


async def list_files(request: web.Request) -> web.Response:
    asked = await _json_request(request)
    if not isinstance(asked.get("page") or "", str):
        raise _bad_json("not an object with a page")
    _check_writer(request)
    listed = request.app[HUB].list(request.match_info["address"], asked.get("page"))
    entries = [_stat(path, file) if asked.get("stat") else path for path, file in listed.files.items()]
    return web.json_response({"entries": entries, "page": listed.next}, status=202)


async def revoke_all(request: web.Request) -> web.Response:
    """`{"oldestValidTimestamp": <Unix time>}`: tokens of before then are refused from now on."""
    asked = await _json_request(request)
    oldest = asked.get("oldestValidTimestamp")
    if type(oldest) is not int or oldest < 0:
        raise _bad_json("missing oldestValidTimestamp")
    _check_writer(request)
    request.app[HUB].oldest_valid[request.match_info["address"]] = UnixTime(oldest)
    return web.json_response({"status": "success"}, status=202)


def _asked(request: web.Request) -> tuple[Hub, str, str]:
    """The hub, the bucket's address, and the path."""
    hub = request.app[HUB]
    return hub, request.match_info["address"], hub.path_of(request.match_info["path"])


def _check_writer(request: web.Request) -> None:
    check_token(request.headers.get("Authorization", ""), request.match_info["address"], request.app[HUB])


async def _content(request: web.Request) -> bytes:
    """The body; if its stated length is too large, it is refused before it is read.

    If files are written in place, the part that has arrived can be read, and stays if the rest never arrives.
    """
    hub, address, path = _asked(request)
    if (request.content_length or 0) > MAX_FILE_BYTES:
        raise _too_large()
    content = b""
    if hub.rules.writes_in_place:
        hub.store_part(address, path, content, _content_type(request))
    async for chunk in request.content.iter_any():
        content += chunk
        if len(content) > MAX_FILE_BYTES:
            raise _too_large()
        if hub.rules.writes_in_place:
            hub.store_part(address, path, content, _content_type(request))
    return content


def _content_type(request: web.Request) -> str:
    return request.headers.get("Content-Type", "application/octet-stream")


def _too_large() -> HubRefused:
    return HubRefused("PayloadTooLargeError", f"A file has at most {MAX_FILE_BYTES >> 20} megabytes")


async def _json_request(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body counts as an empty object."""
    body = await request.read()
    if len(body) > _MAX_JSON_BYTES:
        raise _bad_json("too long")
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _bad_json("cannot be parsed") from None
    if not isinstance(asked, dict):
        raise _bad_json("not an object")
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
        response = await handler(request)
    except HubRefused as refusal:
        response = web.json_response(refusal.document(), status=refusal.status)
    response.headers["Date"] = formatdate(request.app[HUB].clock(), usegmt=True)  # tests may move it
    return response
