#!/usr/bin/env bash
# One would guess: a limit for messages (`rc_message`, 10 at once, then one in 5 seconds) counts messages; joining rooms and making
#   them have limits of their own (`rc_joins`, `rc_room_creation`).
# What happens: joining counts as a message too. A bot that was invited to ten rooms at once, and may join them, cannot post for a while.
# Version: matrix-synapse 1.163.2 from PyPI, with the limits for joining and making rooms lifted, and 10 messages at once as by default.
#   Seen: after 1 join: 9 messages, then 429; after 10 joins: 0 messages, then 429
# Who meets it: bots that are set up in many rooms, and tests of them.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --disable-pip-version-check matrix-synapse==1.163.2 2>/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import hashlib, hmac, json, pathlib, socket, subprocess, sys, time, urllib.error, urllib.parse, urllib.request

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
bcrypt_rounds: 4
trusted_key_servers: []
rc_message: {{per_second: 0.001, burst_count: 10}}  # so slow that the time of this test does not matter
rc_room_creation: &many {{per_second: 1000, burst_count: 1000}}
rc_joins: {{local: *many}}
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
    return ask("POST", "/_synapse/admin/v1/register", made)[1]["access_token"]

def messages_after(joins):
    """How many messages are taken of a new account that joined so many rooms, and what is answered then."""
    token = account(f"bot{joins}")
    for room in rooms[:joins]:
        ask("POST", f"{client}/join/{room}", {}, token)
    for number in range(20):
        try:
            content = {"msgtype": "m.text", "body": "x"}
            ask("PUT", f"{client}/rooms/{rooms[0]}/send/m.room.message/{number}", content, token)
        except urllib.error.HTTPError as error:
            return f"{number} messages, then {error.code}"
    return "20 messages"

client = "/_matrix/client/v3"
server = subprocess.Popen([sys.executable, "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")], stderr=subprocess.DEVNULL)
try:
    for _ in range(300):
        try:
            ask("GET", "/_matrix/client/versions")
            break
        except OSError:
            time.sleep(0.1)
    rooms = []
    for number in range(10):
        room = ask("POST", f"{client}/createRoom", {"preset": "public_chat"}, account(f"host{number}"))[1]["room_id"]
        rooms.append(urllib.parse.quote(room))
    print(f"after 1 join: {messages_after(1)}; after 10 joins: {messages_after(10)}")
finally:
    server.kill()
    server.wait()
PY
)
echo "$seen"
expected='after 1 join: 9 messages, then 429; after 10 joins: 0 messages, then 429'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: joining does not count as a message."; exit 1; }
