#!/usr/bin/env bash
# One would guess: a request that the page aborts, or whose page is closed, is ended, also where a service worker hands it on with
#   `respondWith(fetch(event.request))`: the request carries the page's signal, and the standard has the abort passed on.
# What happens: as long as the server has not sent the head of its answer, Chromium tells the worker nothing. The connection stays open until the
#   server answers. After six of them, nothing more goes to that server (over HTTP/1.1). Without the worker, each is closed at once.
# Version: Chromium 150.0.7871.100 from Debian 12. A frame that polls is removed, then five polls are aborted, then there is one more request.
#   Seen: without a worker: 0 of 6 still open, next request sent; through a worker: 6 of 6 still open, next request not sent
# Who meets it: long polling beside a service worker that answers everything (as offline pages have it): a few reloads, and the page hangs for
#   as long as the server holds a poll. Streams whose head has come are closed. Leave such paths out: return without `respondWith`.
set -euo pipefail
command -v chromium >/dev/null || { echo "Install Chromium (Debian 12: chromium)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder # for what Chromium leaves there
seen=$(python3 - "$folder" <<'PY'
import http.server, os, select, signal, subprocess, sys, threading, time

WORKER = b"""
self.addEventListener('fetch', (event) => {
  if (new URL(event.request.url).pathname.startsWith('/poll/through/')) event.respondWith(fetch(event.request));
});
self.addEventListener('activate', (event) => event.waitUntil(clients.claim()));
self.skipWaiting();
"""
FRAME = b"<!doctype html><script>fetch(location.hash.slice(1), { cache: 'no-store' })</script>"
PAGE = b"""<!doctype html><link rel=icon href=data:,><script type=module>
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
navigator.serviceWorker.register('/worker.js');
await new Promise((resolve) => { navigator.serviceWorker.oncontrollerchange = resolve; });
for (const way of ['direct', 'through']) {
  const frame = document.createElement('iframe');
  frame.src = `/frame#/poll/${way}/frame`;
  document.body.append(frame);
  await sleep(2000); // the server has the poll by now, and so below
  frame.remove();
  for (let number = 1; number <= 5; number += 1) {
    const controller = new AbortController();
    fetch(`/poll/${way}/${number}`, { cache: 'no-store', signal: controller.signal }).catch(() => {});
    await sleep(700);
    controller.abort();
  }
  await fetch(`/next/${way}`, { signal: AbortSignal.timeout(5000) }).catch(() => {});
}
</script>"""
polls, still_open = {"direct": 0, "through": 0}, {"direct": 0, "through": 0}
came, end = {"direct": threading.Event(), "through": threading.Event()}, threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        way = self.path.split("/")[2] if self.path.count("/") > 1 else ""
        if self.path.startswith("/poll/"):
            return self.hold(way)
        if self.path.startswith("/next/"):
            came[way].set()
        body = {"/": PAGE, "/frame": FRAME, "/worker.js": WORKER}.get(self.path, b"")
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if body == WORKER else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hold(self, way):
        polls[way] += 1
        still_open[way] += 1
        while not end.is_set():
            if select.select([self.connection], [], [], 0.1)[0]:  # closed, for nothing more is sent on it
                still_open[way] -= 1
                break
        self.close_connection = True

    def log_message(self, *_):
        pass


def told(way):
    is_sent = came[way].wait(30 if way == "direct" else 20)
    time.sleep(0.5)
    assert polls[way] == 6, polls
    return f"{still_open[way]} of {polls[way]} still open, next request {'sent' if is_sent else 'not sent'}"


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
command = ["chromium", "--headless=new", "--disable-gpu", f"--user-data-dir={sys.argv[1]}/profile"]
command += ["--no-sandbox"] * (os.getuid() == 0) + [f"http://127.0.0.1:{server.server_address[1]}/"]
browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
try:
    print(f"without a worker: {told('direct')}; through a worker: {told('through')}")
finally:
    end.set()
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()
PY
)
echo "$seen"
expected='without a worker: 0 of 6 still open, next request sent; through a worker: 6 of 6 still open, next request not sent'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a service worker hears of an abort, or the connections are used otherwise."; exit 1; }
