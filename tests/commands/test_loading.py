"""What a server loads: not what other commands need, and the cryptographic libraries with the first subscription."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from inbox_server.identity.p256 import public_point
from inbox_server.protocol.base64url import encode
from tests.support.requests import Caller
from tests.support.serving import client_session, deploy

_LOADED = """
import json, sys
from inbox_server.commands.loading import adders
adders(["{command}"])
print(json.dumps(sorted(sys.modules)))
"""
NOT_FOR_SERVE = {"cryptography", "jwt", "http_ece"} | {
    f"inbox_server.{folder}" for folder in ("checks", "client", "conformance", "world")
}


def loaded_by(command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(command=command)], stdout=subprocess.PIPE, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_serve_loads_nothing_that_only_others_need() -> None:
    assert not loaded_by("serve") & NOT_FOR_SERVE
    assert loaded_by("dev") >= {"cryptography", "inbox_server.world", "inbox_server.client"}  # the control


def has_cryptography(process: int) -> bool:
    return "/cryptography/" in Path(f"/proc/{process}/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_cryptographic_libraries_come_with_the_first_subscription(tmp_path: Path) -> None:
    place = deploy(tmp_path)
    async with place.running() as process, client_session() as session:
        owner = Caller(session, place.url, AppKey(secrets.token_bytes(32)), system_clock)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        assert (await owner.deliver(recipient=owner.key.public)).status == 201
        assert (await owner.send("GET", "/.well-known/message-inbox")).json()["push"]["vapid_key"]
        assert not has_cryptography(process.pid)
        keys = {"p256dh": encode(public_point(1)), "auth": encode(bytes(16))}
        body = json.dumps({"endpoint": "https://push.example/x", "keys": keys}).encode()
        answer = await owner.send("PUT", "/v1/inbox/push", body, token=owner.owner_token("settings", body))
        assert answer.status == 204
        assert has_cryptography(process.pid)
