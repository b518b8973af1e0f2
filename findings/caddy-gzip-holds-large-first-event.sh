#!/usr/bin/env bash
# One would guess: whether a proxy's compression holds an event stream back shows at the first try; Caddy passes streams on at once.
# What happens: with `encode gzip`, Caddy decides by the size of the first write. A stream that begins with a small event is not
#   compressed and flows; one that begins with 512 bytes or more is, and then no event comes before the stream ends.
# Version: Caddy 2.6.2 from Debian 12 (caddy 2.6.2-5).
#   Seen: first event of 100 bytes: not compressed, before the end of the stream; of 2000 bytes: gzip, at the end of the stream
# Who meets it: servers whose first event is the state: an empty account works, the test too, and a full account gets nothing.
#   Leaving the stream's path out of `encode` is the way round, as is `Content-Encoding: identity` from the server.
set -euo pipefail
command -v caddy >/dev/null || { echo "Install Caddy (Debian 12: caddy)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
seen=$(HOME="$folder" XDG_DATA_HOME="$folder" XDG_CONFIG_HOME="$folder" python3 - "$folder" <<'PY'
import http.client, pathlib, socket, subprocess, sys, threading, time, zlib

ended = threading.Event()

def stream(connection):
    """One event of as many bytes as the path says; the stream ends six seconds later."""
    size = int(connection.recv(65536).split()[1].strip(b"/"))
    event = b"data: ".ljust(size - 2, b"x") + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + b"%x\r\n%s\r\n" % (size, event))
    time.sleep(6)
    ended.set()
    connection.sendall(b"0\r\n\r\n")
    connection.close()

def serve():
    while True:
        threading.Thread(target=stream, args=listener.accept()[:1], daemon=True).start()

def asked(port, size):
    ended.clear()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", f"/{size}", headers={"Accept-Encoding": "gzip"})
    answer = client.getresponse()
    coding = answer.getheader("Content-Encoding")
    reader = zlib.decompressobj(wbits=31)
    found = b""
    while not found and (piece := answer.read1(65536)):  # until the first byte of the event
        found = reader.decompress(piece) if coding == "gzip" else piece
    when = "at the end of the stream" if ended.is_set() else "before the end of the stream"
    while answer.read1(65536):
        pass
    return f"{coding or 'not compressed'}, {when}"

listener = socket.create_server(("127.0.0.1", 0))
backend = listener.getsockname()[1]
threading.Thread(target=serve, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
site = f"http://127.0.0.1:{port} {{\n bind 127.0.0.1\n encode gzip\n reverse_proxy 127.0.0.1:{backend}\n}}\n"
config = pathlib.Path(sys.argv[1], "Caddyfile")
config.write_text("{\n admin off\n auto_https off\n}\n" + site)
command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as caddy:
    try:
        for _ in range(100):
            try:
                small = asked(port, 100)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        print(f"first event of 100 bytes: {small}; of 2000 bytes: {asked(port, 2000)}")
    finally:
        caddy.terminate()
PY
)
echo "$seen"
expected='first event of 100 bytes: not compressed, before the end of the stream; of 2000 bytes: gzip, at the end of the stream'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: Caddy's compression treats streams otherwise."; exit 1; }
