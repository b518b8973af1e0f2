"""A name service in the shape of the Stacks API, `GET /v1/names/{name}`, and, below `/legacy`, of the one before it.

Each kind of client needs its own: @stacks/profile accepts a profile only if the owner is in c32, blockstack.js only if
it is in base58.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from inbox_server.identity.addresses import base58check_encode, owner_hash
from inbox_server.world.cors import open_to_pages
from inbox_server.world.faults import Faults

LEGACY: Final = "/legacy"
"""The prefix of `/v1/names/` for answers like those of core.blockstack.org, which no longer exists."""
_BITCOIN_MAINNET_VERSION: Final = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """Who owns a name, c32 or base58, and the zone file that was set for it."""

    owner: str
    zone_file: str


class NameRegister:
    """The names of the local world, in memory."""

    def __init__(self) -> None:
        self.names: dict[str, Registration] = {}
        self.look_ups = 0
        """How often it was asked, so that a demo can show what a delivery costs."""

    def look_up(self, name: str) -> Registration | None:
        self.look_ups += 1
        return self.names.get(name)


REGISTER = web.AppKey("register", NameRegister)


def make_name_service(register: NameRegister, faults: Faults) -> web.Application:
    app = web.Application(middlewares=[open_to_pages(methods="GET,HEAD,OPTIONS"), faults.of_names()])
    app[REGISTER] = register
    app.router.add_get("/v1/names/{name}", get_name)
    app.router.add_get(LEGACY + "/v1/names/{name}", get_legacy_name)
    return app


async def get_name(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    is_subdomain = name.count(".") == 2
    registration = request.app[REGISTER].look_up(name)
    if registration is None:
        return web.json_response({"error": f"cannot find {'subdomain' if is_subdomain else 'name'} {name}"}, status=404)
    answer = {
        "address": registration.owner,
        "blockchain": "stacks",
        "last_txid": "0x" + _made_up_id(name),
        "status": "registered_subdomain" if is_subdomain else "name-register",
        **_zone_file(registration),
    }
    return web.json_response(answer)


async def get_legacy_name(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    registration = request.app[REGISTER].look_up(name)
    if registration is None:
        return web.json_response({"status": "available"}, status=404)
    answer = {
        "address": base58check_encode(_BITCOIN_MAINNET_VERSION, owner_hash(registration.owner)),
        "blockchain": "bitcoin",
        "last_txid": _made_up_id(name),
        "status": "registered_subdomain" if name.count(".") == 2 else "registered",
        **_zone_file(registration),
    }
    return web.json_response(answer)


def _zone_file(registration: Registration) -> Mapping[str, str]:
    text = registration.zone_file
    return {"zonefile": text, "zonefile_hash": hashlib.sha256(text.encode()).hexdigest()[:40]}


def _made_up_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
