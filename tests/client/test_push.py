"""Web Push by the client and its command: subscribe with what a browser gave, list by short id, drop a stale one."""

import json
from pathlib import Path

import pytest

from tests.client.test_command_line import Cli, Dev, bob, dev
from tests.support.push_services import Browser

__all__ = ["bob", "dev"]  # fixtures

MOST = 8


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return tmp_path / "subscription.json"


def subscribe(bob: Cli, given: Path, number: int) -> tuple[int, str]:
    given.write_text(json.dumps(Browser(f"https://push{number}.example/secret").subscription()))
    return bob.say("push", "--subscribe", str(given))


def test_a_ninth_browser_is_told_how_and_a_stale_one_is_dropped_by_its_id(dev: Dev, bob: Cli, given: Path) -> None:
    assert bob.say("push") == (0, f"{dev.inbox}\n   no browser is notified\n")
    for number in range(MOST):
        assert subscribe(bob, given, number) == (0, f"{dev.inbox}: subscribed\n")
    code, said = subscribe(bob, given, MOST)
    assert code == 1
    assert "drop a stale one with `DELETE /v1/inbox/push` and its `id`" in said
    assert f"inbox-server client push --profile {bob.profile} --drop ID drops a stale one" in said
    assert bob.say("push", "--drop", "")[0] == 2
    code, said = bob.say("push")
    assert (code, said.count("  since 2"), said.count("https://push3.example\n")) == (0, MOST, 1)
    assert "secret" not in said
    (listed,) = bob("push")[1]
    (stale,) = [each["id"] for each in listed["answer"]["subscriptions"] if "push3." in each["service"]]
    assert bob.say("push", "--drop", stale) == (0, f"{dev.inbox}: dropped\n")
    assert subscribe(bob, given, MOST)[0] == 0
    code, said = bob.say("push", "--drop", stale)
    assert code == 2
    assert f"{stale} is not a subscription of yours" in said


@pytest.mark.parametrize("content", ["", "[]", "{", "nonsense"])
def test_what_no_browser_gave_is_a_usage_error(bob: Cli, given: Path, content: str) -> None:
    given.write_text(content)
    code, said = bob.say("push", "--subscribe", str(given))
    assert code == 2
    assert "PushSubscription.toJSON()" in said
    assert bob.say("push", "--subscribe", str(given.with_name("none")))[0] == 2


def test_with_several_inboxes_it_is_asked_whose_key_was_used(dev: Dev, bob: Cli, given: Path) -> None:
    whole = bob.profile.read_text()
    bob.profile.write_text(json.dumps(json.loads(whole) | {"inboxes": [dev.inbox, "http://127.0.0.1:1"]}))
    code, said = subscribe(bob, given, 1)
    assert code == 2
    assert "--inbox" in said
    assert bob.say("push", "--subscribe", str(given), "--inbox", dev.inbox)[0] == 0
    assert bob.say("push", "--subscribe", str(given), "--inbox", "https://other.example")[0] == 2
    bob.profile.write_text(whole)
