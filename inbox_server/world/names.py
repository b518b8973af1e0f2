"""A name service in the shape of the Stacks API: `GET /v1/names/{name}`."""

import hashlib
from dataclasses import dataclass

from aiohttp import web


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


REGISTER = web.AppKey("register", NameRegister)


def make_name_service(register: NameRegister) -> web.Application:
    app = web.Application()
    app[REGISTER] = register
    app.router.add_get("/v1/names/{name}", get_name)
    return app


async def get_name(request: web.Request) -> web.Response:
    register = request.app[REGISTER]
    register.look_ups += 1
    name = request.match_info["name"]
    headers = {"Access-Control-Allow-Origin": "*"}
    registration = register.names.get(name)
    if registration is None:
        what = "subdomain" if name.count(".") == 2 else "name"
        return web.json_response({"error": f"cannot find {what} {name}"}, status=404, headers=headers)
    zone_file = registration.zone_file
    answer = {
        "address": registration.owner,
        "blockchain": "stacks",
        "last_txid": "0x" + hashlib.sha256(name.encode()).hexdigest(),
        "status": "registered_subdomain" if name.count(".") == 2 else "name-register",
        "zonefile": zone_file,
        "zonefile_hash": hashlib.sha256(zone_file.encode()).hexdigest()[:40],
    }
    return web.json_response(answer, headers=headers)
