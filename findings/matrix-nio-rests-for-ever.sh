#!/usr/bin/env bash
# One would guess: a call of the client that meets a rate limit comes back, with an error or after a few tries, as its other failures do.
# What happens: `room_send` sleeps inside the call for as long as the server says, and repeats without an end (`max_limit_exceeded` is
#   None): while a server keeps saying 429, nothing is returned or raised, and the queue behind the call stands still.
# Version: matrix-nio 0.26.0 from PyPI. Seen: default: 20 tries and still in the call; max_limit_exceeded=2: RoomSendError M_LIMIT_EXCEEDED after 3 tries
# Who meets it: bots that send to many rooms one after another, on a home server whose limit is for the whole account.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check matrix-nio==0.26.0 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, logging
from aiohttp import web
from nio import AsyncClient, AsyncClientConfig

logging.disable()  # it logs each rest

tries = 0
TRIES = 20

async def limited(request):
    global tries
    tries += 1
    enough.set() if tries >= TRIES else None
    document = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 1}
    return web.json_response(document, status=429)

async def send(url, **more):
    global tries
    tries = 0
    client = AsyncClient(url, "@bot:matrix.example", config=AsyncClientConfig(**more))
    client.access_token = "a token"
    call = asyncio.create_task(client.room_send("!a:matrix.example", "m.room.message", {"msgtype": "m.text", "body": "x"}))
    done, _ = await asyncio.wait({call, asyncio.create_task(enough.wait())}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    if call in done:
        said = f"{type(call.result()).__name__} {call.result().status_code} after {tries} tries"
    else:
        said = f"{tries} tries and still in the call"
        call.cancel()
    await client.close()
    return said

async def main():
    global enough
    enough = asyncio.Event()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", limited)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    default = await send(url)
    enough = asyncio.Event()
    bounded = await send(url, max_limit_exceeded=2)
    print(f"default: {default}; max_limit_exceeded=2: {bounded}")
    await runner.cleanup()

asyncio.run(main())
PY
)
echo "$seen"
expected='default: 20 tries and still in the call; max_limit_exceeded=2: RoomSendError M_LIMIT_EXCEEDED after 3 tries'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the client gives up by itself."; exit 1; }
