#!/usr/bin/env bash
# One would guess: the same call without a time to live means the same in the two usual Web Push libraries.
# What happens: web-push (npm) asks the push service to keep the message for four weeks, pywebpush (PyPI) for zero seconds: what
#   is not delivered at once is dropped, so a phone that is asleep or offline never hears of it, and the sender sees 201.
# Version: web-push 3.6.7 from npm, pywebpush 2.5.0 from PyPI. Seen: web-push TTL 2419200, pywebpush TTL 0
# Who meets it: those who port a sender from one to the other, and those who test pywebpush with an open browser only.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" web-push@3.6.7 >/dev/null
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pywebpush==2.5.0 2>/dev/null
cd "$folder"
by_node=$(node -e '
const { generateRequestDetails } = require("web-push");
console.log(generateRequestDetails({ endpoint: "https://push.example/subscription" }).headers.TTL);
')
by_python=$("$folder/venv/bin/python" - <<'PY'
import http.server, threading, pywebpush

class Push(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.headers["TTL"])
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Push)
threading.Thread(target=server.serve_forever, daemon=True).start()
pywebpush.webpush({"endpoint": f"http://127.0.0.1:{server.server_port}/"})
PY
)
seen="web-push TTL $by_node, pywebpush TTL $by_python"
echo "$seen"
expected='web-push TTL 2419200, pywebpush TTL 0'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the defaults are others."; exit 1; }
