"""What docs/backup.md says, word by word, from one machine to another: a restore, and a move of the files."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.people import RETENTION, People, write_subscription
from tests.hosting.conftest import fresh_root
from tests.hosting.how_to import Keys, marked
from tests.hosting.machine import HOST, Machine, StepFailed
from tests.hosting.test_paths import (
    NAMES,
    all_is_well,
    commands,
    edit,
    put_nginx_in_front,
    site_of_the_page,
    with_real_files,
)

pytestmark = [pytest.mark.hosting, pytest.mark.timeout(300, func_only=True)]

URL = f"https://{HOST}"
CONFIG = Path("/etc/inbox-server/config.toml")
HUB = "http://127.0.0.1:8722"
COPY = "inbox-2026-11-21.sqlite3"


def installed(machine: Machine) -> None:
    """With the Debian package, up to the step that starts it."""
    install, keys, _ = marked("deb")
    machine.fetch("cd; " + with_real_files(commands(install), machine.root / "root"))
    assert isinstance(keys, Keys)
    edit(machine.root, keys)
    edit(machine.root, Keys(Path(), ("[registration]", 'mode = "invite"')), CONFIG)
    edit(machine.root, NAMES, CONFIG)
    (machine.root / "root" / "site").write_text(site_of_the_page())


@pytest.fixture
def other(machine: Machine, base: Path, tmp_path: Path) -> Iterator[Machine]:
    """A second machine in the same network: the name leads to whichever of the two is up."""
    (tmp_path / "other").mkdir()
    with fresh_root(base, tmp_path / "other") as root:
        for path in (machine.root / "root").iterdir():
            if path.is_file():
                shutil.copy(path, root / "root")
        yield Machine(root, machine.network)


def people_at(machine: Machine, people: People | None = None) -> People:
    """The same people with the same profiles, whose commands run on this machine."""

    def run(*arguments: str) -> tuple[int, str]:
        said = machine.run(f"code=0; inbox-server {shlex.join(arguments)} 2>/dev/null || code=$?; echo $code")
        *lines, code = said.splitlines()
        return int(code), "\n".join(lines)

    return People(run, Path("/root/people"), HUB, URL, people.sent if people else {})


def carry(from_: Machine, to: Machine, *names: str) -> None:
    """Files of root's home, and the people's profiles."""
    for name in names:
        shutil.copy(from_.root / "root" / name, to.root / "root" / name)
    shutil.copytree(from_.root / "root/people", to.root / "root/people")


def begin(machine: Machine, people: People) -> tuple[str, list[str]]:
    """Bob has an inbox with settings, a subscription and mail, of which he has read the first: his key, and invites."""
    put_nginx_in_front(machine, "site")
    machine.run("systemctl enable --now inbox-server && mkdir people")
    write_subscription(machine.root / "root/people/subscription")
    invites = machine.run(f"inbox-server invite new --config {CONFIG} --count 2").splitlines()
    bob, _, _ = (people.joins(name) for name in ("bob", "alice", "carol"))
    people.claims("bob", invites[0])
    people.subscribes("bob", Path("/root/people/subscription"))
    for text in ("one", "two"):
        people.alice_sends(bob, text)
    assert people.bob_hears(2) == ["one", "two"]
    people.bob_acknowledges("one")
    return bob, invites


def check(machine: Machine, people: People, invites: list[str]) -> None:
    assert people.bobs_inbox()["answer"]["retention"] == RETENTION
    assert [len(each["answer"]["subscriptions"]) for each in people.bobs_subscriptions()] == [1]
    people.claims("carol", invites[0], code=1)
    people.claims("carol", invites[1])
    all_is_well(machine.run(f"inbox-server doctor --config {CONFIG}"))
    all_is_well(machine.run(f"inbox-server ping {URL}"))
    owners = machine.run("stat -c %U:%a /var/lib/inbox-server /var/lib/inbox-server/inbox.sqlite3")
    assert owners.split() == ["inbox-server:700", "inbox-server:600"]


def steps(machine: Machine, name: str) -> None:
    for step in marked(name):
        machine.run(commands(step))


def test_a_copy_is_restored_on_a_fresh_machine(machine: Machine, other: Machine) -> None:
    for each in (machine, other):
        installed(each)
    people = people_at(machine)
    with machine.booted():
        bob, invites = begin(machine, people)
        steps(machine, "backup")
        people.bob_acknowledges("two")
        people.alice_sends(bob, "after the copy")
    carry(machine, other, COPY)
    for name in ("config.toml", "secret"):
        shutil.copy(machine.root / f"etc/inbox-server/{name}", other.root / f"etc/inbox-server/{name}")
    people = people_at(other, people)
    with other.booted():
        steps(other, "restore")
        put_nginx_in_front(other, "site")
        people.alice_sends(bob, "three")
        assert people.bob_hears(1) == ["three"]
        assert people.bob_reads() == ["three"]  # his device knows that he has read the other one
        check(other, people, invites)
        with pytest.raises(StepFailed, match="is in use by another"):
            steps(other, "restore")
        steps(other, "clear")
        steps(other, "restore")
        assert people.bob_reads() == []


def test_a_secret_that_is_lost_for_good_is_replaced(machine: Machine) -> None:
    """docs/troubleshooting.md. The old database is useless, and kept. And the clock of a server may be confirmed."""
    installed(machine)
    with machine.booted():
        put_nginx_in_front(machine, "site")
        machine.run("systemctl enable --now inbox-server")
        before = machine.run("rm /etc/inbox-server/secret; stat -c %i /var/lib/inbox-server/inbox.sqlite3")
        machine.run("! systemctl restart inbox-server")
        steps(machine, "new secret")
        assert machine.run("stat -c %a /etc/inbox-server/secret") == "600\n"
        assert machine.run("stat -c %i /var/backups/inbox-server/inbox.sqlite3") == before
        machine.run("systemctl kill --signal=USR1 inbox-server")
        all_is_well(machine.run(f"inbox-server doctor --config {CONFIG}"))
        all_is_well(machine.run(f"inbox-server ping {URL}"))


def test_the_files_are_moved_to_a_fresh_machine(machine: Machine, other: Machine) -> None:
    for each in (machine, other):
        installed(each)
    people = people_at(machine)
    with machine.booted():
        bob, invites = begin(machine, people)
        steps(machine, "pack")
        people.alice_sends(bob, "in between", code=1)
    carry(machine, other, "inbox-server.tar.gz")
    people = people_at(other, people)
    with other.booted():
        steps(other, "unpack")
        put_nginx_in_front(other, "site")
        assert people.does("alice", "send", "--retry")[-1] == {"waiting": 0}
        assert people.bob_hears(1) == ["in between"]
        assert people.bob_reads() == ["two", "in between"]
        check(other, people, invites)
