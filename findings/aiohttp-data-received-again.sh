#!/usr/bin/env bash
# One would guess: a server's protocol gets `data_received` once for each piece that arrives, and reading resumes when it was paused.
# What happens: whenever a handler has read a body that fits into its buffer, aiohttp resumes a connection that was never paused: it
#   calls its own `data_received` once more, with nothing, feeds nothing to the parser, and asks the transport to go on.
# Version: aiohttp 3.14.5, from PyPI. Seen: 20 GET: 20 calls, 0 with nothing; 20 POST: 40 calls, 20 with nothing
# Who meets it: whoever overrides `data_received` (to time a client's headers, to count requests or bytes) and takes each call for an arrival;
#   and whoever wonders where a POST spends its time: 1.5 of its 30 µs, if its body came with the headers. An own `resume_reading` that
#   does nothing unless reading was paused helps.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio
from aiohttp import web

pieces = []

class Watching(web.RequestHandler):
    def data_received(self, data):
        pieces.append(len(data))
        super().data_received(data)

class Server(web.Server):
    def __call__(self):
        return Watching(self, loop=asyncio.get_running_loop())

async def answer(request):
    await request.read()
    return web.Response(text="x")

async def ask(reader, writer, method, body):
    pieces.clear()
    for _ in range(20):
        writer.write(f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1)
    return f"20 {method}: {len(pieces)} calls, {pieces.count(0)} with nothing"

async def main():
    server = await asyncio.get_running_loop().create_server(Server(answer), "127.0.0.1", 0)
    connection = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await ask(*connection, "GET", ""), await ask(*connection, "POST", "body"), sep="; ")
    connection[1].close()
    server.close()

asyncio.run(main())
PY
)
echo "$seen"
expected='20 GET: 20 calls, 0 with nothing; 20 POST: 40 calls, 20 with nothing'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: reading a body calls data_received less often, or more."; exit 1; }
