#!/usr/bin/env bash
# One would guess: a page's fetch sends a POST once. If the connection breaks before an answer, the promise is rejected, and the page decides.
# What happens: if the connection had served a request before, Chromium sends the POST again by itself on another one, body and all, however long
#   the server had it. The page sees a plain 200. A first request on a connection is sent once, as all are by Node.
# Version: Chromium 150.0.7871.100 from Debian 12; Node 20.20.2. The server reads the whole POST, takes 2 s, and closes without an answer.
#   Seen: Chromium, used connection: 200, sent 2; Chromium, new connection: TypeError, sent 1; Node, used connection: TypeError, sent 1
# Who meets it: servers that stop or crash while they answer, and proxies with a time limit that close; orders, mails and counters are doubled, and
#   the log of the page shows one request. A key in the body that makes a repeat harmless is the way round; no option of fetch is.
set -euo pipefail
command -v chromium >/dev/null || { echo "Install Chromium (Debian 12: chromium)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # for what Chromium leaves there
cat > "$folder/page.mjs" <<'JS'
const send = (path) => fetch(base + path, { method: 'POST', body: 'order 1' }).then((answer) => answer.status, (error) => error.name);
await send('/ok'); // opens the connection
const used = await send('/used');
await send('/report?' + used); // the answer to this one closes its connection
await send('/report?' + (await send('/new')));
JS
seen=$(python3 - "$folder" <<'PY'
import os, pathlib, queue, signal, socket, subprocess, sys, threading, time

SCRIPT = (pathlib.Path(sys.argv[1]) / "page.mjs").read_text()
hits, reports = {}, queue.Queue()


def answer(body=b"", headers=b""):
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)


def serve(connection):
    with connection, connection.makefile("rb") as incoming:
        while line := incoming.readline():
            path, length = line.split()[1].decode(), 0
            while header := incoming.readline().strip():
                if header.lower().startswith(b"content-length:"):
                    length = int(header[15:])
            incoming.read(length)
            hits[path] = hits.get(path, 0) + 1
            if path.startswith("/report"):
                reports.put(path[8:])
                connection.sendall(answer(headers=b"Connection: close\r\n"))
                return
            if path in ("/used", "/new") and hits[path] == 1:
                time.sleep(2)
                connection.shutdown(socket.SHUT_RDWR)
                return
            page = f"<!doctype html><link rel=icon href=data:,><script type=module>const base = '';\n{SCRIPT}</script>".encode()
            connection.sendall(answer(page, b"Content-Type: text/html\r\n") if path == "/" else answer())


def accept():
    while True:
        threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()


def told(command, names):
    hits.clear()
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return [f"{name}: {reports.get(timeout=30)}, sent {hits[path]}" for name, path in names]
    finally:
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()


server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, daemon=True).start()
url = f"http://127.0.0.1:{server.getsockname()[1]}"
browser = ["chromium", "--headless=new", "--disable-gpu", f"--user-data-dir={sys.argv[1]}/profile"]
browser += ["--no-sandbox"] * (os.getuid() == 0) + [url + "/"]
node = ["node", "--input-type=module", "--eval", f"const base = '{url}';\n{SCRIPT}"]
seen = told(browser, [("Chromium, used connection", "/used"), ("Chromium, new connection", "/new")])
print("; ".join(seen + told(node, [("Node, used connection", "/used")])))
PY
)
echo "$seen"
expected='Chromium, used connection: 200, sent 2; Chromium, new connection: TypeError, sent 1; Node, used connection: TypeError, sent 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a POST is sent as often as one would guess, or in another case."; exit 1; }
