#!/usr/bin/env bash
# One would guess: one dict of VAPID claims, {"sub": ...}, does for every subscription; the audience is filled in for each call.
# What happens: pywebpush writes `aud` (and `exp`) into the caller's dict and never overwrites it. Every later push service is
#   sent a token that names the first one, which RFC 8292 tells it to refuse.
# Version: pywebpush 2.5.0 with py-vapid 1.9.6, from PyPI.
#   Seen: second service was sent a token for the first one; claims of the caller: ['aud', 'exp', 'sub']
# Who meets it: senders with a constant for the claims; all is well as long as all test browsers use one push service.
#   `vapid_claims=dict(claims)` at each call is the way round.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pywebpush==2.5.0 py-vapid==1.9.6 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import base64, http.server, json, threading
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid
from pywebpush import webpush

audiences = []

class Push(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        claims = self.headers["Authorization"].split("t=")[1].split(".")[1]
        audiences.append(json.loads(base64.urlsafe_b64decode(claims + "=="))["aud"])
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
keys = {"p256dh": text(point), "auth": text(bytes(16))}
vapid = Vapid()
vapid.generate_keys()
claims = {"sub": "mailto:operator@example.com"}
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Push) for _ in range(2)]
origins = [f"http://127.0.0.1:{server.server_port}" for server in servers]
for server, origin in zip(servers, origins):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webpush({"endpoint": f"{origin}/subscription", "keys": keys}, "hello", vapid, claims)
which = ["the first one", "the second one"][origins.index(audiences[1])]
print(f"second service was sent a token for {which}; claims of the caller: {sorted(claims)}")
PY
)
echo "$seen"
expected="second service was sent a token for the first one; claims of the caller: ['aud', 'exp', 'sub']"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the caller's claims are left as they were."; exit 1; }
