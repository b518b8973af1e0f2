#!/usr/bin/env bash
# One would guess: Caddy logs requests only where a site has a `log` line. Without one, nobody's address or path is written down.
# What happens: a request that Caddy cannot hand on, because the server behind it is down, is an error, and errors go to the default
#   log: client address, path with its query, and all headers but a few (Authorization and cookies are blanked, User-Agent is not).
# Version: Caddy 2.6.2 from Debian 12 (caddy 2.6.2-5).
#   Seen: server up: nothing logged; server down: address, query and User-Agent logged; with `exclude http.log.error`: nothing logged
# Who meets it: operators who promise to log nobody, at each restart of the server behind Caddy. The way round is in the global options:
#   `log { exclude http.log.error }`.
set -euo pipefail
command -v caddy >/dev/null || { echo "Install Caddy (Debian 12: caddy)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
seen=$(HOME="$folder" XDG_DATA_HOME="$folder" XDG_CONFIG_HOME="$folder" python3 - "$folder" <<'PY'
import http.client, http.server, pathlib, socket, subprocess, sys, threading, time

class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]

def ask(port):
    for _ in range(100):
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            client.request("GET", "/inbox?of=a-query", headers={"User-Agent": "an-agent"})
            return client.getresponse().status
        except ConnectionRefusedError:
            time.sleep(0.1)

def logged(is_up, options=""):
    """What of a request is in everything that Caddy wrote, with a server behind it or without."""
    port, back = free_port(), free_port()
    if is_up:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", back), Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    config, log = (pathlib.Path(sys.argv[1], name) for name in ("Caddyfile", "log"))
    site = f"http://127.0.0.1:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{back}\n}}\n"
    config.write_text(f"{{\n admin off\n auto_https off\n {options}\n}}\n{site}")
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as caddy:
        status = ask(port)
        caddy.terminate()
    assert status == (204 if is_up else 502), status
    marks = {"address": '"remote_ip":"127.0.0.1"', "query": "a-query", "User-Agent": "an-agent"}
    found = [name for name, mark in marks.items() if mark in log.read_text()]
    return f"{', '.join(found[:-1])} and {found[-1]} logged" if len(found) > 1 else "".join(found) or "nothing logged"

exclude = "log {\n exclude http.log.error\n }"
print(f"server up: {logged(True)}; server down: {logged(False)}; with `exclude http.log.error`: {logged(False, exclude)}")
PY
)
echo "$seen"
expected='server up: nothing logged; server down: address, query and User-Agent logged; with `exclude http.log.error`: nothing logged'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: Caddy logs failed requests otherwise."; exit 1; }
