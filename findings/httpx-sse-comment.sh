#!/usr/bin/env bash
# One would guess: a comment in an event stream (": ping") is passed over, as the HTML standard says.
# What happens: once an event has had an id, httpx-sse delivers each later comment as an event "message" with empty data,
#   so json() of it raises.
# Version: httpx-sse 0.4.3 over httpx 0.28.1, from PyPI. Seen: [('state', '{}'), ('message', '')]
# Who meets it: every reader of a stream that has ids and sends comments to keep proxies awake.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check httpx==0.28.1 httpx-sse==0.4.3 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import httpx, httpx_sse
stream = b'id: 1\nevent: state\ndata: {}\n\n: ping\n\n'
answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=stream)
print([(event.event, event.data) for event in httpx_sse.EventSource(answer).iter_sse()])
PY
)
echo "$seen"
[ "$seen" = "${EXPECTED-[('state', '{}'), ('message', '')]}" ]
