"""The operator's socket: a Unix socket in the data directory, by which commands reach the server that runs there.

Only the owner of the directory and root can open it, and who asks must know the secret. Every command is logged by its
name alone.
"""

import contextlib
import hmac
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from inbox_server.errors import Refused
from inbox_server.http.answers import answer
from inbox_server.http.app_keys import IS_OURS, METRICS, WAITS
from inbox_server.http.edge import edge
from inbox_server.http.headers_and_body import authorization_of, body_of
from inbox_server.http.listening import listening
from inbox_server.http.unix_socket import OWN_MODE, bound_socket
from inbox_server.inboxes.operator_commands import OperatorCommands
from inbox_server.metrics import Metrics
from inbox_server.protocol.strict_json import NotStrict, parse_object

SOCKET_NAME: Final = "operator"
OPERATOR_PATH: Final = "/operator/"
_MOST_BYTES: Final = 4096
_OPERATOR_COMMANDS: Final = web.AppKey("operator_commands", OperatorCommands)
_TOKEN: Final = web.AppKey("operator_token", str)

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def listening_for_operator(
    folder: Path, commands: OperatorCommands, token: str, metrics: Metrics
) -> AsyncIterator[None]:
    """Answer commands for as long as the context lasts. Where no socket can be, the server works without."""
    app = web.Application(middlewares=[edge])
    app[_OPERATOR_COMMANDS], app[_TOKEN], app[METRICS] = commands, token, metrics
    app[IS_OURS] = lambda _: True  # nothing but a program on this machine gets here
    app.router.add_post(OPERATOR_PATH + "{command}", operate)
    async with contextlib.AsyncExitStack() as stack:
        try:
            bound = stack.enter_context(bound_socket(folder / SOCKET_NAME, mode=OWN_MODE))
        except OSError as error:  # a path of more than 107 bytes, or a filesystem that knows no sockets
            log.warning("no operator's commands: %s", error.strerror or error)
        else:
            await stack.enter_async_context(listening(app, bound))
        yield


async def operate(request: web.Request) -> web.Response:
    """Run one command. What may take minutes ends when whoever asked for it leaves."""
    command = request.match_info["command"]
    if not hmac.compare_digest((authorization_of(request) or "").encode(), f"Bearer {request.app[_TOKEN]}".encode()):
        log.warning("operator: refused")
        raise Refused("bad_token", "The command knows another secret than the server.", member="Authorization")
    try:
        asked = parse_object(await body_of(request, _MOST_BYTES))
    except NotStrict as error:
        raise Refused("bad_request", f"The body {error}.", member="body") from None
    commands = request.app[_OPERATOR_COMMANDS]
    log.info("operator: %s", command if command in commands else "unknown")
    request[WAITS] = command == "vacuum"
    return answer(200, await commands.run(command, asked))
