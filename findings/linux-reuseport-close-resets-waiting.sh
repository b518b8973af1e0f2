#!/usr/bin/env bash
# One would guess: where several processes listen at one port with SO_REUSEPORT, one can go at any time: what it has not accepted yet is
#   accepted by the others.
# What happens: each listener has a queue of its own, and the kernel has put the connection into one of them when the client's connect()
#   returned. If that listener is closed, the client gets a reset, also when it has sent its request, and the others hear nothing of it.
#   `net.ipv4.tcp_migrate_req = 1` (Linux 5.14 and later; off by default) does what one would guess.
# Version: Linux 6.18.44, Python 3.11.7. 100 clients connected and sent a request, then one of two listeners was closed.
#   Seen: by default: reset for some; tcp_migrate_req=1: answered for all
# Who meets it: rolling restarts of servers under load; nginx with `reuseport`, gunicorn, aiohttp and uvicorn with `reuse_port`. A POST
#   that was reset may not be repeated by whoever does not know that nobody has read it.
set -euo pipefail
unshare -rn true 2>/dev/null || { echo "This needs namespaces (unshare -rn), so that it can set the network's settings for itself."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat >"$folder/two.py" <<'PY'
import fcntl, socket, struct, sys, threading

with socket.socket() as any_socket:  # the loopback interface of the new namespace, up
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
with open("/proc/sys/net/ipv4/tcp_migrate_req", "w") as setting:
    setting.write(sys.argv[1])

def listener(port):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(128)
    return listening

def answer_all():
    while True:
        connection, _ = stays.accept()
        connection.sendall(connection.recv(7))

def answered(client):
    try:
        return client.recv(7) == b"request"
    except ConnectionResetError:
        return False

goes = listener(0)
stays = listener(goes.getsockname()[1])
clients = [socket.create_connection(goes.getsockname(), timeout=10) for _ in range(100)]
for client in clients:
    client.sendall(b"request")
goes.close()
threading.Thread(target=answer_all, daemon=True).start()
counts = [answered(client) for client in clients]
print("answered for all" if all(counts) else "reset for some" if any(counts) else "reset for all")
PY
seen="by default: $(unshare -rn python3 "$folder/two.py" 0); tcp_migrate_req=1: $(unshare -rn python3 "$folder/two.py" 1)"
echo "$seen"
expected='by default: reset for some; tcp_migrate_req=1: answered for all'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a listener that is closed leaves its connections to the others, or resets them at that setting too."; exit 1; }
