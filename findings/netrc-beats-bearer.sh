#!/usr/bin/env bash
# One would guess: an Authorization header that the caller sets is the one that is sent, in every HTTP client.
# What happens, when a netrc file names the host: requests throws the caller's "Bearer ..." away and sends the user and password of the
#   netrc file. aiohttp with trust_env=True raises ValueError about an "AUTH argument or credentials encoded in URL", though there
#   are none and netrc is not mentioned. httpx sends the caller's header.
# Version: requests 2.34.2, aiohttp 3.14.5, httpx 0.28.1, from PyPI.
#   Seen: requests: Basic; aiohttp: Cannot combine AUTHORIZATION header with AUTH argument or credentials encoded in URL; httpx: Bearer
# Who meets it: clients of an API with tokens, on machines whose netrc has a line for that host (CI, Git over HTTPS, `default` lines).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check requests==2.34.2 aiohttp==3.14.5 httpx==0.28.1 2>/dev/null
(umask 077; echo "machine 127.0.0.1 login someone password something" > "$folder/netrc")
seen=$(env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY NETRC="$folder/netrc" "$folder/venv/bin/python" - <<'PY'
import asyncio, http.server, threading
import aiohttp, httpx, requests

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        scheme = self.headers["Authorization"].split()[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(scheme)))
        self.end_headers()
        self.wfile.write(scheme)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
url, headers = f"http://127.0.0.1:{server.server_port}/", {"Authorization": "Bearer token"}

async def by_aiohttp():
    try:
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url, headers=headers) as answer:
            return await answer.text()
    except ValueError as error:
        return error

by_requests, by_httpx = requests.get(url, headers=headers).text, httpx.get(url, headers=headers).text
print(f"requests: {by_requests}; aiohttp: {asyncio.run(by_aiohttp())}; httpx: {by_httpx}")
PY
)
echo "$seen"
expected='requests: Basic; aiohttp: Cannot combine AUTHORIZATION header with AUTH argument or credentials encoded in URL; httpx: Bearer'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a client treats a netrc line and the caller's header otherwise."; exit 1; }
