#!/usr/bin/env bash
# One would guess: two windows that ask a server for news, each with its own token, wait side by side; the answers say `Cache-Control: no-store`,
#   and there are six connections to a server.
# What happens: Chromium sends the second of two equal GET requests only when the first has its answer, or after 20 seconds. Equal means the same
#   URL: neither another Authorization header nor no-store in the answer helps, because the cache waits before it knows the answer.
# Version: Chromium 150.0.7871.100 from Debian 12. Two windows ask at once; the seconds are those between the two at the server.
#   Seen: held for 4 s: 4; held for 25 s: 20; held for 4 s, cache: 'no-store' in fetch: 0
# Who meets it: long polling without a cursor of its own in the URL: the second window shows what is new a poll later, and a server sees one reader
#   too few. A test in one window, or with curl, sees nothing of it.
set -euo pipefail
command -v chromium >/dev/null || { echo "Install Chromium (Debian 12: chromium)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # for what Chromium leaves there
seen=$(python3 - "$folder" <<'PY'
import http.server, os, signal, subprocess, sys, threading, time

ROUNDS = [("held for 4 s", 4, "default"), ("held for 25 s", 25, "default"), ("held for 4 s, cache: 'no-store' in fetch", 4, "no-store")]
PAGE = b"""<!doctype html><script>
if (!window.opener) window.open('/second');
(async () => {
  for (const [round, cache] of ['default', 'default', 'no-store'].entries()) {
    await fetch('/ready', { method: 'POST' });
    await fetch(`/wait/${round}`, { cache, headers: { Authorization: `Bearer ${Math.random()}` } });
  }
  await fetch('/ready', { method: 'POST' });
})();
</script>"""
both, came, end = threading.Barrier(2), [[] for _ in ROUNDS], threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = PAGE
        if self.path.startswith("/wait/"):
            number = int(self.path[6:])
            came[number].append((time.monotonic(), self.headers["Authorization"]))
            time.sleep(ROUNDS[number][1])
            body = b"nothing new"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        both.wait(60)  # until both windows are here
        if all(len(times) == 2 for times in came):
            end.set()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
command = ["chromium", "--headless=new", "--disable-gpu", "--disable-popup-blocking", f"--user-data-dir={sys.argv[1]}/profile"]
command += ["--no-sandbox"] * (os.getuid() == 0) + [f"http://127.0.0.1:{server.server_address[1]}/"]
browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
try:
    assert end.wait(90)
finally:
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()
assert all(first[1] != second[1] for first, second in came)
print("; ".join(f"{name}: {round(second[0] - first[0])}" for (name, _, _), (first, second) in zip(ROUNDS, came)))
PY
)
echo "$seen"
expected="held for 4 s: 4; held for 25 s: 20; held for 4 s, cache: 'no-store' in fetch: 0"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: equal requests wait for one another in another way, or not at all."; exit 1; }
