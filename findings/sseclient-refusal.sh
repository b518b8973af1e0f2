#!/usr/bin/env bash
# One would guess: a 401 with a JSON body, read by an event stream client, is an error.
# What happens: sseclient-py, used over requests as its page shows, gives no event and no error; it looks like an empty stream.
# Version: sseclient-py 1.9.0 over requests 2.34.2, from PyPI. Seen: 401 []
# Who meets it: readers whose token ran out.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check requests==2.34.2 sseclient-py==1.9.0 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import http.server, threading, requests, sseclient

class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status": 401, "code": "bad_token"}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
answer = requests.get(f"http://127.0.0.1:{server.server_port}/", stream=True)
print(answer.status_code, [event.data for event in sseclient.SSEClient(answer).events()])
server.shutdown()
PY
)
echo "$seen"
[ "$seen" = "${EXPECTED-401 []}" ]
