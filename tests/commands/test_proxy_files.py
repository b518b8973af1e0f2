"""The files that `init` writes for a proxy: real proxies take them, pass on who asks, and write it nowhere."""

import asyncio
import contextlib
import shutil
import ssl
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
from tests.support.own_proxies import own_caddy, own_nginx
from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import free_port

Command = Callable[[Path, int, str], list[str]]


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


@pytest.mark.parametrize("command", [own_nginx, own_caddy])
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
    async with asyncio.timeout(PATIENCE_SECONDS):
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


def test_the_page_shows_both_files_as_they_are_written() -> None:
    page = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
    for name, proxy in PROXIES.items():
        assert f"```{name}\n{proxy.render('https://inbox.example', _LISTEN)}```" in page
