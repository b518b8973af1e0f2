#!/usr/bin/env bash
# One would guess: `timeout=1` bounds a call. The retries that urllib3 makes by default (3), and those of requests' HTTPAdapter(max_retries=3),
#   are for connections that fail; the latter's docstring says so, and "never to requests where data has made it to the server".
# What happens: an answer 429, 503 or 413 with Retry-After is a retry too: the thread sleeps inside the call for as long as the server says (up
#   to 6 hours), three times, and asks again. Any method but POST and PATCH. Then the last answer comes back, as if it were the first.
# Version: urllib3 2.8.0 and requests 2.34.2, from PyPI. The server says Retry-After: 1.
#   Seen: urllib3: 503, sent 4, 3 s; urllib3 retries=False: 503, sent 1, 0 s; requests: 503, sent 1, 0 s; requests max_retries=3: 503, sent 4, 3 s
# Who meets it: workers that stand still for hours on a server in maintenance, and those who count or time attempts themselves and so
#   multiply them by four. `Retry(3, respect_retry_after_header=False)` or `retries=False` helps.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check urllib3==2.8.0 requests==2.34.2 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import http.server, threading, time
import requests, urllib3

hits = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        hits.append(self.path)
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def told(name, ask):
    hits.clear()
    start = time.monotonic()
    answer = ask()
    status = answer.status if isinstance(answer, urllib3.BaseHTTPResponse) else answer.status_code
    return f"{name}: {status}, sent {len(hits)}, {int(time.monotonic() - start)} s"


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/"
plain, mounted = requests.Session(), requests.Session()
plain.trust_env = mounted.trust_env = False
mounted.mount("http://", requests.adapters.HTTPAdapter(max_retries=3))
print("; ".join([
    told("urllib3", lambda: urllib3.request("GET", url, timeout=1)),
    told("urllib3 retries=False", lambda: urllib3.request("GET", url, timeout=1, retries=False)),
    told("requests", lambda: plain.get(url, timeout=1)),
    told("requests max_retries=3", lambda: mounted.get(url, timeout=1)),
]))
PY
)
echo "$seen"
expected='urllib3: 503, sent 4, 3 s; urllib3 retries=False: 503, sent 1, 0 s; requests: 503, sent 1, 0 s; requests max_retries=3: 503, sent 4, 3 s'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the call waits otherwise for Retry-After, or not at all."; exit 1; }
