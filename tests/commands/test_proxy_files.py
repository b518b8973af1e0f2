"""The files that `init` writes for a proxy: real proxies take them, pass on who asks, and write it nowhere."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from inbox_server.commands.init import _LISTEN
from inbox_server.commands.proxy_files import PROXIES
from inbox_server.config.config import Tcp
from inbox_server.config.file import parse_config
from tests.http.test_proxies import running
from tests.support.serving import free_port

Command = Callable[[Path, int, str], list[str]]


def _nginx(folder: Path, port: int, server: str) -> list[str]:
    """As written, but for the certificate and the log's place, which are this test's."""
    key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost")
    subprocess.run(["openssl", *key, "-keyout", folder / "key", "-out", folder / "cert"], check=True)
    site = PROXIES["nginx"].render(f"https://localhost:{port}", server)
    for theirs, ours in (
        ("/etc/letsencrypt/live/localhost/fullchain.pem", folder / "cert"),
        ("/etc/letsencrypt/live/localhost/privkey.pem", folder / "key"),
        ("/var/log/nginx/error.log", folder / "error.log"),
    ):
        assert theirs in site
        site = site.replace(theirs, str(ours))
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr crit; events {{}}"
        f"http {{ client_body_temp_path {folder}/body; {places} {site} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _caddy(folder: Path, port: int, server: str) -> list[str]:
    """As written, but with a certificate of Caddy's own making."""
    site = PROXIES["caddy"].render(f"https://localhost:{port}", server)
    own = "{\n    admin off\n    local_certs\n    skip_install_trust\n    auto_https disable_redirects\n"
    (folder / "Caddyfile").write_text(site.replace("{\n", own, 1))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextlib.asynccontextmanager
async def _echo(port: int) -> AsyncIterator[str]:
    """A server that answers what a proxy passed on."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response([request.headers["Host"], request.headers.get("X-Real-IP"), await request.text()])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("command", [_nginx, _caddy])
async def test_the_proxy_passes_on_who_asks_and_writes_it_nowhere(tmp_path: Path, command: Command) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    port, behind = free_port(), free_port()
    url = f"https://localhost:{port}/v1/messages?who=alice"
    no_check = ssl.create_default_context()
    no_check.check_hostname, no_check.verify_mode = False, ssl.CERT_NONE
    async with (
        running(command(tmp_path, port, f"127.0.0.1:{behind}"), port, tmp_path),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=no_check), headers={"User-Agent": "alice"}) as http,
    ):
        async with _echo(behind), _asked(http, url) as answer:
            host, address, body = await answer.json()
            assert (host, body) == (f"localhost:{port}", "bye")
            assert address in ("127.0.0.1", "::1")
        async with _asked(http, url) as answer:
            assert answer.status == 502  # the server is down: that, too, names nobody
    written = b"".join(path.read_bytes() for path in (tmp_path / "said", tmp_path / "error.log") if path.exists())
    assert b"alice" not in written
    assert b'"remote_ip"' not in written


@contextlib.asynccontextmanager
async def _asked(http: aiohttp.ClientSession, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """Caddy makes its certificate after it began to listen."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with http.post(url, data="bye") as answer:
                    yield answer
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def test_the_proxys_file_leads_to_where_the_server_listens_by_default() -> None:
    listen = parse_config({"server": {"public_url": "https://inbox.example"}}, Path("/")).listen
    host, port = _LISTEN.split(":")
    assert listen == Tcp(host, int(port))


def test_the_operations_page_shows_both_files_as_they_are_written() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name, proxy in PROXIES.items():
        assert f"```{name}\n{proxy.render('https://inbox.example', _LISTEN)}```" in page
