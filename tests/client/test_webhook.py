"""A webhook by the client's command: handed over with its header, told, and taken away."""

import asyncio
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from tests.client.test_command_line import Dev, dev, made
from tests.support.ntfy import running_ntfy
from tests.support.serving import deploy

__all__ = ["dev"]  # a fixture

TOPIC = "choose-a-topic-nobody-guesses"


async def test_a_url_is_handed_over_told_and_taken_away(
    dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = tmp_path / "header"
    header.touch(0o600)
    header.write_text("Bearer tk_1\n")
    async with running_ntfy() as ntfy:
        ntfy.tokens[TOPIC] = "tk_1"
        deployment = deploy(tmp_path / "server", notify__jitter_seconds=0, outgoing__allow=[ntfy.url])
        async with deployment.running():
            bob = await asyncio.to_thread(made, dev, tmp_path, capsys, None, dev.bob)

            async def publish(*arguments: str) -> tuple[int, str]:
                return await asyncio.to_thread(bob.say, "publish", "--inbox", deployment.url, *arguments)

            webhook = ("--webhook", f"{ntfy.url}/{TOPIC}", "--webhook-authorization", str(header))
            code, said = await publish("--accept", "anyone", *webhook)
            assert code == 0
            assert f"{deployment.url}: notifies your URL\n" in said
            assert TOPIC not in said
            assert "tk_1" not in said
            assert "webhook          a URL is told" in (await asyncio.to_thread(bob.say, "inbox", "--settings"))[1]
            to_himself = AppKey.from_hex(dev.bob).public
            assert (await asyncio.to_thread(bob.say, "send", to_himself, "hello"))[0] == 0
            await ntfy.arrivals(1)
            assert ntfy.shown == {TOPIC: ["Something waits in your inbox."]}
            code, said = await publish("--no-webhook")
            assert code == 0
            assert f"{deployment.url}: notifies no URL\n" in said
            assert "webhook          no URL is told" in (await asyncio.to_thread(bob.say, "inbox", "--settings"))[1]


def test_what_cannot_be_told_is_refused_in_words(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bob = made(dev, tmp_path, capsys, "bob.id", dev.bob)
    code, said = bob.say("publish", "--inbox", dev.inbox, "--webhook", f"http://ntfy.example/{TOPIC}")
    assert code == 3  # the inbox is claimed, and the card published
    assert "`url` is not an https URL" in said
    assert TOPIC not in said
    header = tmp_path / "header"
    header.write_text("Bearer tk_1")
    header.chmod(0o644)
    for arguments, words in (
        (("--webhook-authorization", str(header)), "needs --webhook URL"),
        (("--webhook", f"https://ntfy.example/{TOPIC}", "--webhook-authorization", str(header)), "chmod 600 FILE"),
    ):
        code, said = bob.say("publish", *arguments)
        assert code == 2
        assert words in said
        assert "tk_1" not in said
    bob("forget", "--yes")
