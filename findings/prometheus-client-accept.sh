#!/usr/bin/env bash
# One would guess: the metrics page of prometheus_client weighs the Accept header as HTTP says; q=0 means "never this".
# What happens: it takes OpenMetrics wherever the header names it, whatever the weight, q=0 too.
# Version: prometheus_client 0.26.0, from PyPI.
#   Seen: q=0.1 against text q=1: application/openmetrics-text; q=0: application/openmetrics-text; text only: text/plain
# Who meets it: scrapers that list both formats and can parse one, or prefer the plain one; in OpenMetrics the body ends with "# EOF".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check prometheus_client==0.26.0 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import urllib.request
import prometheus_client

server, _ = prometheus_client.start_http_server(0, "127.0.0.1")
no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def scraped(accept):
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/metrics", headers={"Accept": accept})
    return no_proxy.open(request).headers.get_content_type()

weak = scraped("application/openmetrics-text;version=1.0.0;q=0.1,text/plain;version=0.0.4;q=1")
never = scraped("application/openmetrics-text;version=1.0.0;q=0,text/plain;version=0.0.4")
print(f"q=0.1 against text q=1: {weak}; q=0: {never}; text only: {scraped('text/plain;version=0.0.4')}")
PY
)
echo "$seen"
expected='q=0.1 against text q=1: application/openmetrics-text; q=0: application/openmetrics-text; text only: text/plain'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: prometheus_client weighs the Accept header."; exit 1; }
