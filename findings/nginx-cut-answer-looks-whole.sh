#!/usr/bin/env bash
# One would guess: a backend that dies in the middle of an answer of unknown length leaves the client with a broken answer.
# What happens: nginx speaks HTTP/1.0 to its backends unless told otherwise; there the end of the connection is the end of the answer. It
#   passes that on to an HTTP/1.1 client as a properly ended chunked answer. With `proxy_http_version 1.1` the client sees the cut.
# Version: nginx 1.22.1 from Debian 12 (nginx 1.22.1-9).
#   Seen: default: 200, whole, 8 bytes; proxy_http_version 1.1: IncompleteRead; direct: IncompleteRead
# Who meets it: readers of exports, line-by-line JSON and event streams behind a plain `proxy_pass`.
set -euo pipefail
PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || { echo "Install nginx (Debian 12: nginx)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
[ "$(id -u)" != 0 ] || chmod 755 "$folder"
seen=$(python3 - "$folder" <<'PY'
import http.client, pathlib, socket, subprocess, sys, threading, time

def cut(connection):
    """Part of an answer without a length: chunked where the client speaks HTTP/1.1, up to the close where it speaks 1.0."""
    chunked = b"HTTP/1.1\r\n" in connection.recv(65536)
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n8\r\n" if chunked else b"Connection: close\r\n\r\n")
    connection.sendall(head + b'{"n":1}\n' + (b"\r\n" if chunked else b""))
    connection.close()

def serve():
    while True:
        threading.Thread(target=cut, args=listener.accept()[:1], daemon=True).start()

def asked(port, path="/"):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", path)
    answer = client.getresponse()
    try:
        return f"{answer.status}, whole, {len(answer.read())} bytes"
    except http.client.HTTPException as error:
        return type(error).__name__

listener = socket.create_server(("127.0.0.1", 0))
backend = f"http://127.0.0.1:{listener.getsockname()[1]}"
threading.Thread(target=serve, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
folder = pathlib.Path(sys.argv[1])
kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
(folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log; events {{}}
http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};
  location / {{ proxy_pass {backend}; }}
  location /newer {{ proxy_http_version 1.1; proxy_pass {backend}; }} }} }}
""")
with subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]) as nginx:
    try:
        for _ in range(100):
            try:
                default = asked(port)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        newer, direct = asked(port, "/newer"), asked(listener.getsockname()[1])
        print(f"default: {default}; proxy_http_version 1.1: {newer}; direct: {direct}")
    finally:
        nginx.terminate()
PY
)
echo "$seen"
expected='default: 200, whole, 8 bytes; proxy_http_version 1.1: IncompleteRead; direct: IncompleteRead'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: nginx passes the cut on by default, or hides it with HTTP/1.1 too."; exit 1; }
