"""Two people at `inbox-server dev --strict-hub`, whose hub takes only what somebody on its list vouches for."""

import stat
from pathlib import Path

import pytest

from tests.client.test_command_line import made, running_dev


def test_people_talk_with_the_association_tokens_that_dev_wrote_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_dev("--strict-hub") as dev:
        of_alice, of_bob = (Path(token) for token in dev.tokens)
        assert [stat.S_IMODE(file.stat().st_mode) for file in (of_alice, of_bob)] == [0o600, 0o600]
        alice = made(dev, tmp_path, capsys, "alice.id", dev.alice, "--association-token", str(of_alice))

        bob = made(dev, tmp_path, capsys, "bob.id", dev.bob)  # who did not think of it
        code, said = bob.say("publish", "--inbox", dev.inbox)
        assert code == 1
        assert "401 to storing key.json without an association token" in said
        assert bob.say("publish", "--association-token", str(tmp_path / "nowhere"))[0] == 2
        assert bob.say("publish", "--association-token", str(of_bob), "--inbox", dev.inbox)[0] == 0

        code, (sent,) = alice("send", "bob.id", "hello")
        assert (code, sent["stored"]) == (0, [dev.inbox])
        code, (read, *_) = bob("read", "--ack")
        assert (code, read["from"], read["content"]) == (0, "alice.id", "hello")

        code, said = alice.say("publish", "--association-token", str(of_alice))  # who only sends has no inbox
        assert (code, said.count("\n")) == (0, 1)
    assert not of_bob.exists()
