#!/usr/bin/env bash
# One would guess: what a bot posts in a direct chat is shown by the other's phone; `m.notice` is the type that the specification gives to bots.
# What happens: a home server tells phones of an `m.text`, with high priority, and of an `m.notice` not at all: a default push rule
#   (`.m.rule.suppress_notices`) comes before the one for direct chats. The bot gets 200 and an event ID for both.
# Version: matrix-synapse 1.163.2 from PyPI. Seen: m.notice: 200, 0 pushes; m.text: 200, 1 push, prio high
# Who meets it: bots that are meant to wake somebody, such as alerts and reminders.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --disable-pip-version-check matrix-synapse==1.163.2 2>/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import hashlib, hmac, http.server, json, pathlib, queue, socket, subprocess, sys, threading, time, urllib.error, urllib.parse, urllib.request

folder, pushes = pathlib.Path(sys.argv[1]), queue.Queue()

class PushGateway(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["notification"]
        if "event_id" in told:
            pushes.put((told["event_id"], told.get("prio", "high")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"rejected":[]}')

    def log_message(self, *_):
        pass

gateway = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PushGateway)
threading.Thread(target=gateway.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
(folder / "log.yaml").write_text("version: 1")
(folder / "signing.key").write_text(f"ed25519 a {'A' * 42}E\n")
(folder / "homeserver.yaml").write_text(f"""
server_name: matrix.example
signing_key_path: {folder}/signing.key
media_store_path: {folder}/media
pid_file: {folder}/pid
log_config: {folder}/log.yaml
listeners: [{{port: {port}, bind_addresses: [127.0.0.1], type: http, resources: [{{names: [client]}}]}}]
database: {{name: sqlite3, args: {{database: {folder}/db}}}}
registration_shared_secret: x
macaroon_secret_key: x
report_stats: false
trusted_key_servers: []
ip_range_blacklist: []
""")

def ask(method, path, content=None, token=None):
    body = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, json.load(answer)

def account(name):
    nonce = ask("GET", "/_synapse/admin/v1/register")[1]["nonce"]
    mac = hmac.digest(b"x", "\0".join((nonce, name, "secret", "notadmin")).encode(), hashlib.sha1).hex()
    made = {"nonce": nonce, "username": name, "password": "secret", "admin": False, "mac": mac}
    return ask("POST", "/_synapse/admin/v1/register", made)[1]

server = subprocess.Popen([sys.executable, "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")], stderr=subprocess.DEVNULL)
try:
    for _ in range(300):
        try:
            ask("GET", "/_matrix/client/versions")
            break
        except OSError:
            time.sleep(0.1)
    bot, bob = account("bot"), account("bob")
    client = "/_matrix/client/v3"
    phone = {"kind": "http", "app_id": "a.phone", "pushkey": "bob", "lang": "en", "app_display_name": "", "device_display_name": "",
             "data": {"url": f"http://127.0.0.1:{gateway.server_port}/_matrix/push/v1/notify", "format": "event_id_only"}}
    ask("POST", f"{client}/pushers/set", phone, bob["access_token"])
    chat = {"preset": "trusted_private_chat", "is_direct": True, "invite": [bot["user_id"]]}
    room = urllib.parse.quote(ask("POST", f"{client}/createRoom", chat, bob["access_token"])[1]["room_id"])
    ask("POST", f"{client}/join/{room}", {}, bot["access_token"])
    sent = {}
    for kind in ("m.notice", "m.text"):  # pushes come in order, so when the second is told, the first was not
        content = {"msgtype": kind, "body": "wake up"}
        status, said = ask("PUT", f"{client}/rooms/{room}/send/m.room.message/{kind}", content, bot["access_token"])
        sent[said["event_id"]] = [f"{kind}: {status}", 0, ""]
    while not all(each[1] for each in list(sent.values())[1:]):
        event, priority = pushes.get(timeout=20)
        sent[event][1:] = sent[event][1] + 1, f", prio {priority}"
    print("; ".join(f"{said}, {count} push{'' if count == 1 else 'es'}{priority}" for said, count, priority in sent.values()))
finally:
    server.kill()
    server.wait()
PY
)
echo "$seen"
expected='m.notice: 200, 0 pushes; m.text: 200, 1 push, prio high'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: phones are told of notices too."; exit 1; }
