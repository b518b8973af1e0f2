"""The baseline: what aiohttp and uvloop alone take for a request of the same bytes, answered with the same bytes.

Run as `python -m benchmarks.bare PORT ANSWER`: ANSWER is a JSON file with the headers and the body that a GET answers.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from uvloop import new_event_loop


async def serve(port: int, document: dict[str, Any]) -> None:
    headers, body = CIMultiDict(document["headers"]), document["body"].encode()

    async def post(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201)

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_post("/v1/messages", post)
    app.router.add_get("/v1/messages", get)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    print("listens at", port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
