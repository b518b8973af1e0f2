"""The examples on the protocol page, run as they stand there: bash, curl, and unmodified jsontokens."""

import asyncio
import os
import re
import secrets
import shutil
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.clock import system_clock
from inbox_server.world.local_world import running_world
from tests.conftest import APP
from tests.support.javascript import JS, missing, open_node, search_path

PROTOCOL = Path(__file__).parent.parent.parent / "docs" / "protocol.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language in the section with the examples."""
    section = PROTOCOL.read_text().split("## By example")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(120)
async def test_the_examples_of_the_protocol_page_work(tmp_path: Path) -> None:
    node = open_node(search_path())
    if not (shutil.which("curl") and shutil.which("bash")):
        missing("the examples need bash and curl: install them from your system's packages")
    (program,) = blocks("js")
    (tmp_path / "sign.mjs").write_text(program)
    (tmp_path / "node_modules").symlink_to(JS / "node_modules")
    alice, bob = AppKey(secrets.token_bytes(32)), AppKey(secrets.token_bytes(32))
    async with running_world(tmp_path / "data", clock=system_clock) as world:
        running = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            "\n".join(blocks("sh")),
            cwd=tmp_path,
            env={
                "PATH": os.pathsep.join([str(node.program.parent), os.environ["PATH"]]),
                "INBOX": world.inbox_url,
                "ALICE_KEY": alice.public,
                "ALICE_PRIVATE_KEY": alice.secret.hex(),
                "BOB_KEY": bob.public,
                "BOB_PRIVATE_KEY": bob.secret.hex(),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await running.communicate()
        assert running.returncode == 0, said.decode()
        inbox = Inbox(world.session, world.inbox_url, APP, bob, system_clock)
        settings = await inbox.settings()
        assert settings["accept"] == "anyone"
        assert settings["unread"] == 0
        everything = await inbox.unread()
        assert everything["messages"] == []  # delivered (or the script had ended there), listed, and acknowledged
