#!/usr/bin/env bash
# One would guess: with workbox-background-sync, and the usual plugin that throws at 5xx so that such requests are queued too, a POST is kept until
#   the server takes it (or for the days of maxRetentionTime).
# What happens: the plugin belongs to the strategy, and the replay goes past it with a bare fetch. Whatever answers counts as done, so
#   a 503 at the first replay ends the request for good. Only a broken connection puts it back.
# Version: workbox-background-sync, core, routing and strategies 7.4.1, from npm; Chromium 150.0.7871.100 from Debian 12.
#   Seen: 503 to both: sent 2, in the queue 0; cut off both times: sent 2, in the queue 1
# Who meets it: offline-first apps whose server is down behind a proxy, which answers 502 or 503 for it; an expired token's 401 counts as done as well. The
#   page hears nothing. An own `onSync` that looks at the status and calls `unshiftRequest` is the way round.
set -euo pipefail
command -v chromium >/dev/null || { echo "Install Chromium (Debian 12: chromium)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # for what Chromium leaves there
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" workbox-background-sync@7.4.1 workbox-core@7.4.1 \
  workbox-routing@7.4.1 workbox-strategies@7.4.1 >/dev/null
seen=$(python3 - "$folder" <<'PY'
import http.server, json, os, pathlib, queue, signal, subprocess, sys, threading

NAMES = ("core", "routing", "strategies", "background-sync")
MODULES = pathlib.Path(sys.argv[1]) / "node_modules"
WORKER = "\n".join((MODULES / f"workbox-{name}/build/workbox-{name}.prod.js").read_text() for name in NAMES) + """
const atFiveHundred = { fetchDidSucceed: async ({ response }) => { if (response.status >= 500) throw new Error('5xx'); return response; } };
const plugins = [atFiveHundred, new workbox.backgroundSync.BackgroundSyncPlugin('orders')];
const isOrder = ({ url }) => url.pathname.startsWith('/order/');
workbox.routing.registerRoute(isOrder, new workbox.strategies.NetworkOnly({ plugins }), 'POST');
self.skipWaiting();
workbox.core.clientsClaim();
"""
PAGE = """<!doctype html><link rel=icon href=data:,><script type=module>
const done = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
const waiting = async () => {
  const db = await done(indexedDB.open('workbox-background-sync'));
  return done(db.transaction('requests').objectStore('requests').count()).finally(() => db.close());
};
navigator.serviceWorker.register('/worker.js');
await new Promise((resolve) => { navigator.serviceWorker.oncontrollerchange = resolve; });
for (const what of ['503', 'cut']) {
  await fetch('/order/' + what, { method: 'POST', body: 'one' }).catch(() => {});
  await fetch('/replayed/' + what);
  await new Promise((resolve) => setTimeout(resolve, 2000)); // for a failed replay to come back into the queue
  await fetch('/report', { method: 'POST', body: await waiting() });
}
</script>"""
reports, sent = queue.Queue(), {"503": threading.Semaphore(0), "cut": threading.Semaphore(0)}
counts = dict.fromkeys(sent, 0)


class Handler(http.server.BaseHTTPRequestHandler):  # HTTP/1.0: a connection for each request
    def do_GET(self):
        if self.path.startswith("/replayed/"):
            for _ in range(2):
                assert sent[self.path[10:]].acquire(timeout=30)
        self.answer(200, {"/": PAGE, "/worker.js": WORKER}.get(self.path, ""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/report":
            reports.put(int(body))
            return self.answer(204)
        what = self.path[7:]
        counts[what] += 1
        sent[what].release()
        if what == "503":
            self.answer(503)

    def answer(self, status, body=""):
        self.send_response(status)
        self.send_header("Content-Type", "text/javascript" if self.path == "/worker.js" else "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
command = ["chromium", "--headless=new", "--disable-gpu", f"--user-data-dir={sys.argv[1]}/profile"]
command += ["--no-sandbox"] * (os.getuid() == 0) + [f"http://127.0.0.1:{server.server_address[1]}/"]
browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
try:
    refused, cut = reports.get(timeout=45), reports.get(timeout=45)
finally:
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()
print(f"503 to both: sent {counts['503']}, in the queue {refused}; cut off both times: sent {counts['cut']}, in the queue {cut}")
PY
)
echo "$seen"
expected='503 to both: sent 2, in the queue 0; cut off both times: sent 2, in the queue 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a request that is refused at its replay is kept, or a cut one is not."; exit 1; }
