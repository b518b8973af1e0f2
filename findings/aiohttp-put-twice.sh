#!/usr/bin/env bash
# One would guess: an HTTP client without a retry setting sends a request once and tells of the broken connection.
# What happens: on a kept-alive connection that the server closes instead of answering, the client of aiohttp sends GET, PUT and
#   DELETE again by itself, body and all. The caller sees a plain 200; the server has seen the request twice. POST is sent once.
# Version: aiohttp 3.14.5, from PyPI. Seen: PUT 200, sent 2; DELETE 200, sent 2; POST ServerDisconnectedError, sent 1
# Who meets it: those whose PUT or DELETE has an effect at each time (a counter, a mail, "the second DELETE is 404"), and those who
#   count attempts. `ClientSession` has no public setting against it; `force_close=True` at the connector helps.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, re, aiohttp

async def main():
    sent = []

    async def serve(reader, writer):
        """Answers the first request of a connection; reads the second one whole, then closes."""
        for number in range(2):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                break
            length = re.search(r"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            sent.append(head.split()[0])
            if number == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    found = []
    for method in ("PUT", "DELETE", "POST"):
        sent.clear()
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                await answer.read()
            try:
                async with session.request(method, url, data=b"one more") as answer:
                    result = str(answer.status)
            except aiohttp.ClientError as error:
                result = type(error).__name__
        found.append(f"{method} {result}, sent {sent.count(method)}")
    print("; ".join(found))

asyncio.run(main())
PY
)
echo "$seen"
expected='PUT 200, sent 2; DELETE 200, sent 2; POST ServerDisconnectedError, sent 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: aiohttp repeats other requests than before, or none."; exit 1; }
