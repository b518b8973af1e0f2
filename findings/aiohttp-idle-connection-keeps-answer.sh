#!/usr/bin/env bash
# One would guess: once an answer is sent, the server forgets it, and an idle kept-alive connection costs some kilobytes.
# What happens: aiohttp's server keeps the last answer of each connection, body and all, until the next request on that connection or
#   its end. A body that is `bytes` stays in memory for as long as the client keeps the connection: by default more than an hour.
# Version: aiohttp 3.14.5, from PyPI. Seen: kept on 20 idle connections: 20 answers, 20 MB; after one more request each: 0
# Who meets it: servers with large answers made for each request and many kept-alive clients, or a proxy with a pool of connections, whose
#   memory grows with connections and not with requests. A short `keepalive_timeout`, a `StreamResponse`, or an own
#   `finish_response` that returns a small answer in its place helps.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, gc, re, weakref
from aiohttp import web

answers = weakref.WeakSet()

async def large(request):
    answer = web.Response(body=bytes(1_000_000))
    answers.add(answer)
    return answer

async def ask(reader, writer, path):
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))

def kept():
    gc.collect()
    return f"{len(answers)} answers, {sum(len(each.body) for each in answers) // 1_000_000} MB"

async def main():
    app = web.Application()
    app.add_routes([web.get("/large", large), web.get("/small", lambda request: small())])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    for connection in connections:
        await ask(*connection, "/large")
    large_ones = kept()
    for connection in connections:
        await ask(*connection, "/small")
    print(f"kept on 20 idle connections: {large_ones}; after one more request each: {len(answers)}")
    for _, writer in connections:
        writer.close()
    await runner.cleanup()

async def small():
    return web.Response(text="x")

asyncio.run(main())
PY
)
echo "$seen"
expected='kept on 20 idle connections: 20 answers, 20 MB; after one more request each: 0'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: an idle connection keeps less of its last answer, or more."; exit 1; }
