"""What docs/running.md tells an operator to set so that sealed deliveries do not link: no TLS session is resumed."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.test_proxies import running
from tests.support.own_proxies import own_caddy, own_nginx
from tests.support.patience import PATIENCE_SECONDS
from tests.support.serving import free_port

ADVICE = Path("docs/running.md").read_text()


def nginx(folder: Path, port: int, server: str, more: str = "") -> list[str]:
    command, site = own_nginx(folder, port, server), folder / "nginx.conf"
    more += " ssl_protocols TLSv1.2 TLSv1.3;"  # as Debian's nginx.conf has it; nginx 1.22 by itself has no 1.3
    site.write_text(site.read_text().replace("access_log off;", f"access_log off; {more}", 1))
    return command


def nginx_as_advised(folder: Path, port: int, server: str) -> list[str]:
    (directives,) = re.findall(r"`(ssl_session_tickets .*?;)`", ADVICE)
    return nginx(folder, port, server, directives)


def caddy_as_advised(folder: Path, port: int, server: str) -> list[str]:
    command = own_caddy(folder, port, server)
    adapted = subprocess.run(["caddy", "adapt", *command[2:]], check=True, capture_output=True).stdout
    (path, value) = re.findall(r"\.(apps\.tls\.session_tickets\.disabled) = (true)", ADVICE)[0]
    document = json.loads(adapted)
    place = document
    *way, last = path.split(".")
    for name in way:
        place = place.setdefault(name, {})
    place[last] = json.loads(value)
    (folder / "caddy.json").write_text(json.dumps(document))
    return ["caddy", "run", "--config", str(folder / "caddy.json")]


def resumes(port: int, version: ssl.TLSVersion) -> bool:
    """Whether a second connection of one client resumes the session of the first."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    session, reused = None, False
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % port)
            assert tls.recv(4096).startswith(b"HTTP/1.1 ")  # in TLS 1.3 a session comes after the handshake
            session, reused = tls.session, bool(tls.session_reused)
    return reused


async def _resumes(port: int, version: ssl.TLSVersion) -> bool:
    """Caddy makes its certificate after it began to listen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await asyncio.to_thread(resumes, port, version)
            except ssl.SSLError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "is_resumed"),
    [(nginx, True), (nginx_as_advised, False), (own_caddy, True), (caddy_as_advised, False)],
)
async def test_with_the_advised_settings_no_session_is_resumed(
    tmp_path: Path, command: Callable[[Path, int, str], list[str]], is_resumed: bool
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    port, behind = free_port(), free_port()
    async with running(command(tmp_path, port, f"127.0.0.1:{behind}"), port, tmp_path):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert await _resumes(port, version) == is_resumed, version
