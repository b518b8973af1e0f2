"""Event streams and held answers through the proxies that people put in front, with their buffering left on."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inbox_server.protocol.feed_json import MAX_WAIT_SECONDS
from inbox_server.server import WAKEUPS
from inbox_server.world.local_world import World
from tests.support.javascript import missing
from tests.support.live import Live, live_server, open_stream
from tests.support.requests import Caller
from tests.support.serving import free_port

NGINX = """
daemon off; pid {folder}/pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {upstream}; proxy_set_header Host {host}; proxy_buffering on; {more} }}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    {more}
    reverse_proxy {upstream} {{
        header_up Host {host}
    }}
}}
"""


def nginx(folder: Path, port: int, upstream: str, more: str = "") -> list[str]:
    config = folder / "nginx.conf"
    host = upstream.removeprefix("http://")
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream, host=host, more=more))
    return ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"]


def nginx_1_1(folder: Path, port: int, upstream: str) -> list[str]:
    return nginx(folder, port, upstream, 'proxy_http_version 1.1; proxy_set_header Connection "";')


def nginx_gzip(folder: Path, port: int, upstream: str) -> list[str]:
    return nginx(folder, port, upstream, "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;")


def caddy(folder: Path, port: int, upstream: str, more: str = "") -> list[str]:
    config = folder / "Caddyfile"
    host = upstream.removeprefix("http://")
    config.write_text(CADDY.format(port=port, upstream=upstream, host=host, more=more))
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


def caddy_gzip(folder: Path, port: int, upstream: str) -> list[str]:
    return caddy(folder, port, upstream, "encode gzip")


@contextlib.asynccontextmanager
async def running(command: list[str], port: int, folder: Path) -> AsyncIterator[None]:
    """The proxy, once it takes connections."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if program is None:
        missing(f"no {command[0]} here: apt install {command[0]}")
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(program, *command[1:], stderr=said, stdout=said, env=environment)
    try:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            assert process.returncode is None, (folder / "said").read_text()
            await asyncio.sleep(0.01)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.fixture(params=[nginx, nginx_1_1, nginx_gzip, caddy, caddy_gzip])
async def proxied(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> AsyncIterator[tuple[Live, Caller]]:
    """The server, and its owner as a caller through the proxy. Tokens name the server's own origin."""
    command: Callable[[Path, int, str], list[str]] = request.param
    port = free_port()
    async with (
        live_server(world, tmp_path / "live") as live,
        running(command(tmp_path, port, live.owner.url), port, tmp_path),
    ):
        yield live, replace(live.owner, url=f"http://127.0.0.1:{port}")


async def test_events_come_through_while_the_stream_is_open(proxied: tuple[Live, Caller]) -> None:
    live, through = proxied
    async with open_stream(through, bend={"aud": live.owner.url}) as stream:
        assert stream.answer.status == 200
        assert (await stream.next()).data["messages"] == []
        for text in ("one", "two"):
            await live.deliver(text)
            assert [entry["message_id"] for entry in (await stream.next()).data["messages"]] == [text]
        live.app[WAKEUPS].stop()
        assert (await stream.next()).data == {"reason": "stopping"}


async def test_what_waits_comes_at_once_to_a_reader_that_takes_gzip(proxied: tuple[Live, Caller]) -> None:
    """A first event large enough to be compressed, which Caddy's `encode` decides by."""
    live, through = proxied
    text = "x" * 1024
    await live.deliver(text)
    async with open_stream(through, bend={"aud": live.owner.url}) as stream:
        assert stream.answer.request_info.headers["Accept-Encoding"].startswith("gzip")
        assert [entry["message_id"] for entry in (await stream.next()).data["messages"]] == [text]


async def test_a_held_answer_comes_through(proxied: tuple[Live, Caller]) -> None:
    live, through = proxied
    request = asyncio.create_task(through.unread(wait=MAX_WAIT_SECONDS, bend={"aud": live.owner.url}))
    await live.waiting(1)
    await live.deliver("one")
    assert [entry["message_id"] for entry in (await request).json()["messages"]] == ["one"]


async def test_a_client_that_leaves_the_proxy_gives_its_place_back(proxied: tuple[Live, Caller]) -> None:
    live, through = proxied
    async with open_stream(through, bend={"aud": live.owner.url}) as stream:
        await stream.next()
        await live.waiting(1)
        stream.answer.close()
    await live.waiting(0)
