"""Sealed delivery as people and scripts use it: what `send` and `publish` print, and what they do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.test_command_line import Cli, Dev, made, running_dev


@pytest.fixture
def dev() -> Iterator[Dev]:
    with running_dev() as dev:
        yield dev


@pytest.fixture
def alice(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    yield from _with_inbox(made(dev, tmp_path, capsys, "alice.id", dev.alice), dev)


@pytest.fixture
def bob(dev: Dev, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    yield from _with_inbox(made(dev, tmp_path, capsys, "bob.id", dev.bob), dev)


def _with_inbox(person: Cli, dev: Dev) -> Iterator[Cli]:
    assert person("publish", "--inbox", dev.inbox)[0] == 0
    yield person
    person("forget", "--yes")


def meet(alice: Cli, bob: Cli) -> None:
    """Each writes to the other and reads what came, and both publish."""
    for sender, recipient, name in ((alice, bob, "bob.id"), (bob, alice, "alice.id")):
        code, said = sender.say("send", name, "hello")
        assert (code, "stored, signed, first contact" in said) == (0, True), said
        assert recipient("read", "--ack")[0] == 0
    for person in (alice, bob):
        assert person("publish")[0] == 0


def ways(said: tuple[int, list[Any]]) -> tuple[int, list[tuple[str, str]]]:
    """Of all messages that were tried: how each went, and why not."""
    code, reports = said
    inboxes = [inbox for report in reports for inbox in report["inboxes"]]
    return code, [(each.get("way", ""), each.get("code", "")) for each in inboxes]


def test_a_person_sees_how_each_message_went_and_decides_whether_to_sign(dev: Dev, alice: Cli, bob: Cli) -> None:
    meet(alice, bob)
    code, said = alice.say("send", "bob.id", "one")
    assert (code, said.splitlines()[-1]) == (0, f"   {dev.inbox}: stored, sealed, receipt kept")
    code, said = bob.say("publish", "--sealed", "off")
    assert (code, "sealed delivery is off: your card offers no tickets, and you use none\n" in said) == (0, True), said
    code, said = alice.say("send", "bob.id", "two")
    assert code == 1
    assert "the recipient's card offers no tickets any more" in said
    assert "nothing was signed, because earlier messages went sealed; `send --signed` signs it" in said
    assert [each["content"] for each in bob("read", "--ack")[1]] == ["one"]
    code, said = alice.say("send", "bob.id", "three", "--signed")
    assert (code, said.splitlines()[-1]) == (0, f"   {dev.inbox}: stored, receipt kept")
    assert {each["content"] for each in bob("read", "--ack")[1]} == {"three", "two"}  # the one that waited may go, too
    code, said = bob.say("publish", "--sealed", "on")
    assert (code, "sealed delivery is on: your contacts get tickets, and you use theirs\n" in said) == (0, True), said
    code, said = alice.say("send", "bob.id", "four")
    assert (code, said.splitlines()[-1]) == (0, f"   {dev.inbox}: stored, sealed, receipt kept")
    assert [each["content"] for each in bob("read", "--ack")[1]] == ["four"]


def test_a_script_gets_the_way_and_the_code(alice: Cli, bob: Cli) -> None:
    meet(alice, bob)
    assert ways(alice("send", "bob.id", "sealed")) == (0, [("sealed", "")])
    assert ways(alice("send", "bob.id", "signed", "--signed")) == (0, [("sealed", "")])
    assert bob("publish", "--sealed", "off")[1][1] == {"sealed": False}
    assert ways(alice("send", "bob.id", "waits")) == (1, [("", "no_tickets")])
    both = [("signed", ""), ("signed", "")]  # what waited goes with it
    assert ways(alice("send", "bob.id", "signed", "--signed")) == (0, both)
    bob("publish", "--sealed", "on")
