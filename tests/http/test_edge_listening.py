"""Who may listen where, and whom a proxy may name."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from inbox_server.config.config import BadConfig
from inbox_server.http.hosts import network_of
from tests.conftest import HandClock
from tests.support.edges import claim_bob, make_config, serving, signed_delivery
from tests.support.serving import deploy


@pytest.mark.parametrize("key", ["listen", "admin_listen"])
@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8710", "[::]:8710", "192.0.2.1:8710", "inbox.example:8710", "[2001:db8::1]:1"]
)
def test_listening_beyond_loopback_needs_a_proxy_in_front(tmp_path: Path, key: str, listen: str) -> None:
    with pytest.raises(BadConfig, match=rf"^server\.{key}: is not loopback.*behind_proxy = true"):
        make_config(tmp_path, 1, **{f"server__{key}": listen})
    assert make_config(tmp_path, 1, **{f"server__{key}": listen}, server__behind_proxy=True).behind_proxy


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:8710", "127.9.9.9:8710", "[::1]:8710", "localhost:8710", "unix:/run/inbox"]
)
def test_listening_on_this_machine_needs_no_proxy(tmp_path: Path, listen: str) -> None:
    assert not make_config(tmp_path, 1, server__listen=listen).behind_proxy


async def test_serve_refuses_a_public_address_and_exits_with_2(tmp_path: Path) -> None:
    deployment = deploy(tmp_path, server__listen="0.0.0.0:0")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "inbox_server", "serve", "--config", deployment.folder / "config.toml"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 2
    assert b"behind_proxy" in said


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "Authorization", "Host", "X Y", "X:"]
)
def test_headers_that_clients_write_cannot_be_the_proxys(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfig, match=r"^server\.proxy_header: "):
        make_config(tmp_path, 1, server__proxy_header=name)


V4, V6 = bytes([203, 0, 113, 7]), bytes.fromhex("20010db800010002")


@pytest.mark.parametrize(
    ("remote", "told", "network"),
    [
        ("203.0.113.7", None, V4),
        ("203.0.113.7", "198.51.100.1", V4),  # not from this machine, so not from the proxy
        ("2001:db8:1:2:3:4:5:6", None, V6),
        ("2001:db8:1:2:ffff::1", None, V6),
        ("::ffff:203.0.113.7", None, V4),
        ("fe80::1%eth0", None, bytes.fromhex("fe80000000000000")),
        ("127.0.0.1", None, None),
        ("::1", None, None),
        ("127.0.0.1", "203.0.113.7", V4),
        ("::1", "203.0.113.7", V4),
        ("::ffff:127.0.0.1", "203.0.113.7", V4),  # loopback, as a socket for both kinds tells it
        ("::ffff:127.0.0.1", None, None),
        (None, "203.0.113.7", V4),  # a Unix socket
        ("", "2001:db8:1:2::9", V6),
        ("127.0.0.1", "::ffff:203.0.113.7", V4),
        ("127.0.0.1", "203.0.113.7, 198.51.100.1", None),
        ("127.0.0.1", "203.0.113.7:1234", None),
        ("127.0.0.1", "unknown", None),
        ("127.0.0.1", "", None),
    ],
)
def test_a_network_is_the_peers_or_what_a_proxy_on_this_machine_tells(
    tmp_path: Path, remote: str | None, told: str | None, network: bytes | None
) -> None:
    config = make_config(tmp_path, 1, server__proxy_header="X-Real-IP")
    headers = {"X-Forwarded-For": "192.0.2.99", "Forwarded": "for=192.0.2.99"}
    assert network_of(remote, headers if told is None else {**headers, "X-Real-IP": told}, config) == network


def test_no_header_is_believed_when_none_is_configured(tmp_path: Path) -> None:
    headers = {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "": "192.0.2.1"}
    assert network_of("127.0.0.1", headers, make_config(tmp_path, 1)) is None


async def test_only_the_configured_header_moves_the_limit_by_network(tmp_path: Path, clock: HandClock) -> None:
    limits: dict[str, Any] = {"server__proxy_header": "X-Real-IP", "limits__network_per_hour": 2}
    async with serving(tmp_path, clock=clock, **limits) as server:
        await claim_bob(server, clock)

        async def deliver(**headers: str) -> int:
            body, token = signed_delivery(server.url, clock)
            sent = {"Authorization": f"Bearer {token}"} | {key.replace("_", "-"): told for key, told in headers.items()}
            async with server.session.post(f"{server.url}/v1/messages", data=body, headers=sent) as response:
                return response.status

        told = [await deliver(X_Real_IP="203.0.113.7", X_Forwarded_For=f"198.51.100.{number}") for number in range(4)]
        assert told == [201, 200, 429, 429]
        assert await deliver(X_Real_IP="203.0.113.8") == 200
        forwarded = [await deliver(X_Forwarded_For="203.0.113.7", Forwarded="for=203.0.113.7") for _ in range(4)]
        assert forwarded == [200] * 4
