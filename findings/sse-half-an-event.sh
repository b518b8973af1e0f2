#!/usr/bin/env bash
# One would guess: when an event stream ends in the middle of an event, that half is thrown away, as the HTML standard says; the event
#   comes whole after reconnecting.
# What happens: sseclient-py delivers the half as an event, with its id. aiohttp-sse-client2, which reconnects by itself, keeps the half and
#   joins it to the first event of the next stream: two answers in one text, under one id. httpx-sse throws it away.
# Version: sseclient-py 1.9.0 over urllib3 2.8.0, aiohttp-sse-client2 0.3.0 over aiohttp 3.14.5, httpx-sse 0.4.3 over httpx 0.28.1, from PyPI.
#   Seen: sseclient-py: 1 pay 5, 2 pay 10; aiohttp-sse-client2: 1 pay 5, 2 pay 10|pay 1000; httpx-sse: 1 pay 5
# Who meets it: readers behind a proxy that ends an interrupted stream properly (nginx with HTTP/1.0 to its backend, Caddy 2.6), or of a server
#   that is stopped while it writes. With JSON it is an error at parsing; with plain text it is a wrong text, and nobody sees it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check urllib3==2.8.0 sseclient-py==1.9.0 aiohttp==3.14.5 \
  aiohttp-sse-client2==0.3.0 httpx==0.28.1 httpx-sse==0.4.3 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, datetime, http.server, threading
import httpx, httpx_sse, sseclient, urllib3
from aiohttp_sse_client2 import client

CUT, REST = b"id: 1\ndata: pay 5\n\nid: 2\ndata: pay 10\n", b"id: 2\ndata: pay 1000\n\n"


class Handler(http.server.BaseHTTPRequestHandler):  # HTTP/1.0: the end of the connection is the end of the stream
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(REST if self.headers["Last-Event-Id"] else CUT)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/"


def shown(name, events):
    return f"{name}: " + ", ".join(f"{number} {text}".replace("\n", "|") for number, text in events)


async def reconnecting():
    found = []
    async with client.EventSource(url, reconnection_time=datetime.timedelta(milliseconds=50)) as source:
        async for event in source:
            found.append((event.last_event_id, event.data))
            if len(found) == 2:
                return found


answer = urllib3.PoolManager().request("GET", url, preload_content=False)
plain = [(event.id, event.data) for event in sseclient.SSEClient(answer).events()]
again = asyncio.run(asyncio.wait_for(reconnecting(), 20))
with httpx.stream("GET", url) as stream:
    dropped = [(event.id, event.data) for event in httpx_sse.EventSource(stream).iter_sse()]
print("; ".join([shown("sseclient-py", plain), shown("aiohttp-sse-client2", again), shown("httpx-sse", dropped)]))
PY
)
echo "$seen"
expected='sseclient-py: 1 pay 5, 2 pay 10; aiohttp-sse-client2: 1 pay 5, 2 pay 10|pay 1000; httpx-sse: 1 pay 5'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the half of an event is treated in another way."; exit 1; }
