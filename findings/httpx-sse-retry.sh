#!/usr/bin/env bash
# One would guess: a block with nothing but "retry:" sets the pause and is no event, as the HTML standard says.
# What happens: httpx-sse delivers it as an event "message" with empty data.
# Version: httpx-sse 0.4.3 over httpx 0.28.1, from PyPI. Seen: [('message', '', 5000), ('state', '{}', None)]
# Who meets it: readers of servers that set the pause first, as most examples of server-sent events do.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check httpx==0.28.1 httpx-sse==0.4.3 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import httpx, httpx_sse
stream = b'retry: 5000\n\nevent: state\ndata: {}\n\n'
answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=stream)
print([(event.event, event.data, event.retry) for event in httpx_sse.EventSource(answer).iter_sse()])
PY
)
echo "$seen"
[ "$seen" = "${EXPECTED-[('message', '', 5000), ('state', '{}', None)]}" ]
