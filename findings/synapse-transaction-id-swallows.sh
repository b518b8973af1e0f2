#!/usr/bin/env bash
# One would guess: a transaction ID makes the repeat of a request harmless, so another message under the same ID is refused, or is sent.
# What happens: the home server answers 200 with the event ID of the first message and drops the second, whatever it says and even if it
#   is an event of another type. To the sender it looks as if it had been sent.
# Version: matrix-synapse 1.163.2 from PyPI.
#   Seen: another body: 200, same event ID; another type: 200, same event ID; in the room: 1 of 3
# Who meets it: senders that derive the ID from a counter that starts again, or from the time in seconds.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --disable-pip-version-check matrix-synapse==1.163.2 2>/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import hashlib, hmac, json, pathlib, socket, subprocess, sys, time, urllib.parse, urllib.request

folder = pathlib.Path(sys.argv[1])
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
""")
token = None

def ask(method, path, content=None):
    body = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, json.load(answer)

server = subprocess.Popen([sys.executable, "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")], stderr=subprocess.DEVNULL)
try:
    for _ in range(300):
        try:
            nonce = ask("GET", "/_synapse/admin/v1/register")[1]["nonce"]
            break
        except OSError:
            time.sleep(0.1)
    mac = hmac.digest(b"x", "\0".join((nonce, "bot", "secret", "notadmin")).encode(), hashlib.sha1).hex()
    made = {"nonce": nonce, "username": "bot", "password": "secret", "admin": False, "mac": mac}
    token = ask("POST", "/_synapse/admin/v1/register", made)[1]["access_token"]
    room = "/_matrix/client/v3/rooms/" + urllib.parse.quote(ask("POST", "/_matrix/client/v3/createRoom", {})[1]["room_id"])

    def send(kind, text):
        return ask("PUT", f"{room}/send/{kind}/one", {"msgtype": "m.text", "body": text})

    _, first = send("m.room.message", "first")
    outcome = []
    for what, kind, text in (("body", "m.room.message", "second"), ("type", "com.example.other", "third")):
        status, said = send(kind, text)
        same = "same" if said["event_id"] == first["event_id"] else "new"
        outcome.append(f"another {what}: {status}, {same} event ID")
    events = ask("GET", f"{room}/messages?dir=b&limit=50")[1]["chunk"]
    shown = sum(event["content"].get("body") in ("first", "second", "third") for event in events)
    print("; ".join(outcome) + f"; in the room: {shown} of 3")
finally:
    server.kill()
    server.wait()
PY
)
echo "$seen"
expected='another body: 200, same event ID; another type: 200, same event ID; in the room: 1 of 3'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a used ID is refused, or sends something else."; exit 1; }
