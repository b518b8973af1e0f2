#!/usr/bin/env bash
# One would guess: a client that asks first (Expect: 100-continue) hears of a refusal before it sends its body: that is what it asks for,
#   and a middleware that looks at the token comes before the handler.
# What happens: aiohttp's server says "100 Continue" before any middleware runs, and also where there is no such path. The client sends all
#   of its body to hear 401 or 404. Only an `expect_handler` of the route itself comes earlier, and unknown paths cannot have one.
# Version: aiohttp 3.14.5 from PyPI.
#   Seen: refused by middleware: 100, 401; no such path: 100, 404; refused by expect_handler: 401
# Who meets it: servers for large uploads, whose clients (curl from 1 MB on, many S3 and Java clients) ask; what a refusal costs is a whole upload.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio
from aiohttp import web

@web.middleware
async def checked(request, handler):
    if request.path == "/checked":
        raise web.HTTPUnauthorized
    return await handler(request)

async def stored(request):
    await request.read()
    return web.Response(status=201)

async def refused(request):
    raise web.HTTPUnauthorized

async def statuses(port, path):
    """A client that waits for 100, as it should, and sends its body then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode())
    seen = []
    while line := await reader.readline():
        if line.startswith(b"HTTP/1.1 "):
            seen.append(line.split()[1].decode())
            if seen == ["100"]:
                writer.write(b"body")
    writer.close()
    return ", ".join(seen)

async def main():
    app = web.Application(middlewares=[checked])
    app.router.add_put("/checked", stored)
    app.router.add_put("/early", stored, expect_handler=refused)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(f"refused by middleware: {await statuses(port, '/checked')}; no such path: {await statuses(port, '/nowhere')}; "
          f"refused by expect_handler: {await statuses(port, '/early')}")
    await runner.cleanup()

asyncio.run(main())
PY
)
echo "$seen"
expected='refused by middleware: 100, 401; no such path: 100, 404; refused by expect_handler: 401'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the answer to Expect waits for the middleware, or for somebody who reads the body."; exit 1; }
