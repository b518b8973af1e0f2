"""Each path of docs/install.md, word by word, from a fresh Debian to a server that passes every check."""

import re
import shutil
from pathlib import Path

import pytest

from tests.hosting.how_to import PAGES, Commands, Keys, marked
from tests.hosting.machine import HOST, Machine
from tests.hosting.podman import Podman

pytestmark = [pytest.mark.hosting, pytest.mark.timeout(300, func_only=True)]

_FILES = (r"inbox_server-\d[\w.+]*-py3-none-any\.whl", r"inbox-server_\d[\w.+]*-1_amd64\.deb")
NAMES = Keys(Path(), ("[names]", 'services = ["http://127.0.0.1:8721"]'))
_PING = f"inbox-server ping https://{HOST}"


def with_real_files(text: str, folder: Path) -> str:
    """The page's commands with the names of the files that there are, because their version is another."""
    for pattern in _FILES:
        found = [path.name for path in folder.iterdir() if re.fullmatch(pattern, path.name)]
        text = re.sub(pattern, found[0], text)
    return text


def edit(root: Path, keys: Keys, file: Path | None = None) -> None:
    path = root / (file or keys.file).relative_to("/")
    path.write_text(keys.set_in(path.read_text()))


def commands(step: Commands | Keys) -> str:
    assert isinstance(step, Commands)
    return step.text


def follow(machine: Machine, steps: list[Commands | Keys], config: Path) -> None:
    """Do what is left to do. The one thing that is not in the page is where names are looked up."""
    for step in steps:
        if isinstance(step, Keys):
            edit(machine.root, step)
            edit(machine.root, NAMES, config)
        else:
            machine.run(step.text)


def all_is_well(said: str) -> None:
    assert "FAILED" not in said
    assert "warning" not in said
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said


def put_nginx_in_front(machine: Machine, site: str) -> None:
    machine.run(f"cp {site} /etc/nginx/sites-enabled/inbox.conf && systemctl reload nginx")


def test_the_debian_package(machine: Machine) -> None:
    """With the whole of `ping`: an invite lets it in, and it waits for the answer that is held for 55 seconds."""
    install, *rest = marked("deb")
    config = Path("/etc/inbox-server/config.toml")
    machine.fetch("cd; " + with_real_files(commands(install), machine.root / "root"))
    with machine.booted():
        follow(machine, rest, config)
        (machine.root / "root" / "site").write_text(site_of_the_page())
        put_nginx_in_front(machine, "site")
        all_is_well(machine.run(f"inbox-server doctor --config {config}"))
        all_is_well(machine.run(_PING))
        edit(machine.root, Keys(Path(), ("[registration]", 'mode = "invite"')), config)
        machine.run("systemctl reload inbox-server")
        said = machine.run(f'{_PING} --invite "$(inbox-server invite new --config {config})"')
        all_is_well(said)
        assert "skipped" not in said
        owners = machine.run("stat -c %U:%a /var/lib/inbox-server /var/lib/inbox-server/inbox.sqlite3")
        assert owners.split() == ["inbox-server:700", "inbox-server:600"]


def test_a_purge_keeps_the_inboxes_unless_somebody_says_so(machine: Machine) -> None:
    """And a second installation finds them, and the secret. An upgrade restarts the server, and a removal stops it."""
    install, *rest = marked("deb")
    install_again = with_real_files(commands(install), machine.root / "root").replace("apt install", "dpkg --install")
    machine.fetch("cd; " + with_real_files(commands(install), machine.root / "root"))
    with machine.booted():
        follow(machine, rest, Path("/etc/inbox-server/config.toml"))
        kept = machine.run("sha256sum /etc/inbox-server/secret /etc/inbox-server/config.toml")
        before = machine.run("systemctl show --property=MainPID inbox-server")
        machine.run(install_again)
        after = machine.run("systemctl show --property=MainPID inbox-server")
        assert machine.run("systemctl is-active inbox-server").strip() == "active"
        assert after not in (before, "MainPID=0\n"), "an upgrade starts the new version"
        machine.run("apt remove inbox-server")
        assert machine.run("systemctl is-active inbox-server || true").strip() == "inactive"
        machine.run("apt purge inbox-server")
        files = machine.run("ls /etc/inbox-server /var/lib/inbox-server").split()
        assert "secret" in files
        assert "inbox.sqlite3" in files
        assert "config.toml" not in files
        machine.run(install_again)
        follow(machine, rest, Path("/etc/inbox-server/config.toml"))
        assert machine.run("sha256sum /etc/inbox-server/secret /etc/inbox-server/config.toml") == kept
        machine.run('echo "inbox-server inbox-server/purge-data boolean true" | debconf-set-selections')
        machine.run("apt purge inbox-server")
        assert (
            machine.run("ls -d /etc/inbox-server /var/lib/inbox-server /usr/lib/inbox-server 2>/dev/null || true") == ""
        )


def test_a_virtual_environment(machine: Machine) -> None:
    install, *rest = marked("venv")
    config = Path("/etc/inbox-server/config.toml")
    machine.fetch("cd; " + with_real_files(commands(install), machine.root / "root"))
    with machine.booted():
        follow(machine, rest, config)
        put_nginx_in_front(machine, "/etc/inbox-server/nginx-site.conf")
        all_is_well(machine.run(f"/opt/inbox-server/bin/inbox-server doctor --config {config}"))
        all_is_well(machine.run(f"/opt/inbox-server/bin/{_PING}"))


def test_pipx(machine: Machine) -> None:
    """The server is started by hand; systemd-run stands for the terminal that stays open."""
    install, make, serve = marked("pipx")
    machine.fetch("cd; " + with_real_files(commands(install), machine.root / "root"))
    with machine.booted():
        machine.run(commands(make))
        edit(machine.root, NAMES, Path("/root/my-inbox/config.toml"))
        arguments = commands(serve).removeprefix("inbox-server ")
        run = "systemd-run --service-type=notify --working-directory=/root"  # until it says that it listens
        machine.run(f"{run} $(command -v inbox-server) {arguments}")
        put_nginx_in_front(machine, "my-inbox/nginx-site.conf")
        all_is_well(machine.run("inbox-server doctor --config my-inbox/config.toml"))
        all_is_well(machine.run(_PING))


def test_a_client_alone(machine: Machine) -> None:
    """pip without the extra: no library of the server comes, and the client and `ping` work."""
    (wheel,) = (machine.root / "root").glob("*.whl")
    machine.fetch(f"cd; apt install python3-venv; python3 -m venv client; client/bin/pip install ./{wheel.name}")
    came = machine.fetch("/root/client/bin/pip list --format freeze").lower().replace("_", "-")
    assert "aiohttp==" in came
    assert not re.search(r"^(aiosqlite|http-ece|prometheus-client|uvloop)==", came, re.MULTILINE)
    with machine.booted():
        said = machine.run("client/bin/inbox-server ping --quick http://127.0.0.1:8720")
        all_is_well(said)
        assert "acknowledge" in said
        keygen = (
            "client/bin/inbox-server client keygen --profile p --app https://chat.example --hub http://127.0.0.1:8722"
        )
        machine.run(f"{keygen} --names http://127.0.0.1:8721")
        machine.run("client/bin/inbox-server client publish --profile p --inbox http://127.0.0.1:8720")


def test_a_container(machine: Machine, base: Path, tmp_path: Path) -> None:
    """podman runs here, on the machine of the test, with the network of the machine in which nginx runs."""
    build, keys, start = marked("container")
    assert isinstance(keys, Keys)
    podman = Podman(tmp_path, machine.network)
    config, place = tmp_path / "srv/etc/config.toml", ("/srv/inbox-server", str(tmp_path / "srv"))
    with podman.holding(base), machine.booted():
        podman.run(commands(build).replace(*place), folder=machine.root / "root", network="host")
        assert "secret" not in podman.run("podman run --rm --entrypoint ls inbox-server /etc/inbox-server 2>/dev/null")
        config.write_text(NAMES.set_in(keys.set_in(config.read_text())))
        podman.run(commands(start).replace(*place))
        podman.run("grep --max-count=1 'listens at' <(podman logs --follow inbox-server 2>&1)")
        shutil.copy(tmp_path / "srv/etc/nginx-site.conf", machine.root / "root/site")
        put_nginx_in_front(machine, "site")
        all_is_well(podman.run("podman exec inbox-server inbox-server doctor --config /etc/inbox-server/config.toml"))
        all_is_well(podman.run(f"podman exec inbox-server {_PING}"))
        podman.run("podman healthcheck run inbox-server")
        assert podman.run("podman exec inbox-server id -u").strip() == "8710"
        assert "Read-only file system" in podman.run("podman exec inbox-server touch /var/x 2>&1 || true")
        assert "CapEff:\t0000000000000000" in podman.run("podman exec inbox-server grep CapEff /proc/self/status")


def site_of_the_page() -> str:
    """The block for nginx."""
    text = "".join(page.read_text() for page in PAGES)
    match = re.search(r"```nginx\n(server \{.*?)```", text, re.DOTALL)
    assert match
    return match[1]
