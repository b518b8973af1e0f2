#!/usr/bin/env bash
# One would guess: localStorage.setItem is synchronous, so what it took is there again when the browser was killed and started anew, and
#   at the latest a few seconds after; what IndexedDB's asynchronous transactions are needed for is size.
# What happens: Chromium gathers writes for 5 seconds, and then puts them on disk once a minute at most. A browser that is killed loses all
#   of them since; what an IndexedDB transaction had told as complete is there. An orderly end (SIGTERM) writes all.
# Version: Chromium 150.0.7871.100 from Debian 12. Each store gets one value at the start and one 10 s later, 12 s before the end.
#   Seen: SIGKILL: localStorage early, IndexedDB early late; SIGTERM: localStorage early late, IndexedDB early late
# Who meets it: pages that keep a queue of things to send, or a cursor, in localStorage, after a crash, an out-of-memory kill or a power cut. Drafts
#   and settings seldom show it, and a test that kills the browser after one write and 5 seconds passes.
set -euo pipefail
command -v chromium >/dev/null || { echo "Install Chromium (Debian 12: chromium)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # for what Chromium leaves there
seen=$(python3 - "$folder" <<'PY'
import http.server, json, os, queue, signal, subprocess, sys, threading, time

PAGE = b"""<!doctype html><script>
const done = (request, event) => new Promise((resolve) => { request[event] = () => resolve(request.result); });
const written = (db, key) => { const t = db.transaction('s', 'readwrite'); t.objectStore('s').put(1, key); return done(t, 'oncomplete'); };
const tell = (found) => fetch('/', { method: 'POST', body: JSON.stringify(found) });
(async () => {
  const opening = indexedDB.open('db');
  opening.onupgradeneeded = () => opening.result.createObjectStore('s');
  const db = await done(opening, 'onsuccess');
  const indexed = await done(db.transaction('s').objectStore('s').getAllKeys(), 'onsuccess');
  await tell(`localStorage ${Object.keys(localStorage).sort().join(' ')}, IndexedDB ${indexed.join(' ')}`);
  for (const key of ['early', 'late']) {
    if (key === 'late') await new Promise((resolve) => setTimeout(resolve, 10_000));
    localStorage.setItem(key, 1);
    await written(db, key);
  }
  await tell('written');
})();
</script>"""
told = queue.Queue()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self):
        told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def start(profile):
    command = ["chromium", "--headless=new", "--disable-gpu", f"--user-data-dir={sys.argv[1]}/{profile}"]
    command += ["--no-sandbox"] * (os.getuid() == 0) + [f"http://127.0.0.1:{server.server_address[1]}/"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def end(browser, how):
    (os.killpg if how == signal.SIGKILL else os.kill)(browser.pid, how)
    browser.wait(30)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
results = []
for how in (signal.SIGKILL, signal.SIGTERM):
    browser = start(how.name)
    told.get(timeout=30)
    assert told.get(timeout=30) == "written"
    time.sleep(12)
    end(browser, how)
    browser = start(how.name)
    results.append(f"{how.name}: {told.get(timeout=30)}")
    end(browser, signal.SIGKILL)
print("; ".join(results))
PY
)
echo "$seen"
expected='SIGKILL: localStorage early, IndexedDB early late; SIGTERM: localStorage early late, IndexedDB early late'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: localStorage is on disk sooner, or IndexedDB or an orderly end is not."; exit 1; }
