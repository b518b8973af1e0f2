#!/usr/bin/env bash
# One would guess: when a backend dies in the middle of a chunked answer, the reverse proxy breaks off too, so that the client can tell.
# What happens: Caddy logs "aborting with incomplete response" and then ends the client's answer properly, with the last chunk.
#   The client gets 200 and a whole answer that is half of one. Asked directly, the same client sees the cut.
# Version: Caddy 2.6.2 from Debian 12 (caddy 2.6.2-5). Seen: direct: IncompleteRead; through Caddy: 200, whole, 8 bytes
# Who meets it: readers of exports, line-by-line JSON and event streams, where the end of the body is the only end mark.
set -euo pipefail
command -v caddy >/dev/null || { echo "Install Caddy (Debian 12: caddy)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
seen=$(HOME="$folder" XDG_DATA_HOME="$folder" XDG_CONFIG_HOME="$folder" python3 - "$folder" <<'PY'
import http.client, pathlib, socket, subprocess, sys, threading, time

def cut(connection):
    """Sends the head and one chunk, and closes without the last chunk."""
    connection.recv(65536)
    connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"n":1}\n\r\n')
    connection.close()

def serve():
    while True:
        threading.Thread(target=cut, args=listener.accept()[:1], daemon=True).start()

def asked(port):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", "/")
    answer = client.getresponse()
    try:
        return f"{answer.status}, whole, {len(answer.read())} bytes"
    except http.client.HTTPException as error:
        return type(error).__name__

listener = socket.create_server(("127.0.0.1", 0))
backend = listener.getsockname()[1]
threading.Thread(target=serve, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
config = pathlib.Path(sys.argv[1], "Caddyfile")
config.write_text(f"{{\n admin off\n auto_https off\n}}\nhttp://127.0.0.1:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{backend}\n}}\n")
command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as caddy:
    try:
        for _ in range(100):
            try:
                through = asked(port)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        print(f"direct: {asked(backend)}; through Caddy: {through}")
    finally:
        caddy.terminate()
PY
)
echo "$seen"
expected='direct: IncompleteRead; through Caddy: 200, whole, 8 bytes'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: Caddy passes the cut on."; exit 1; }
