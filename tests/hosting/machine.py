"""A machine as an operator gets it: Debian 12 by debootstrap, booted by systemd-nspawn, with a network of its own.

Its network is only loopback, in a namespace, so nothing meets what else runs here. What must be fetched is
fetched before it boots, in the same root file system with the network of this machine.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST: Final = "inbox.example"
BOOT_SECONDS: Final = 60
_COMMON: Final = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit")
_FETCHING: Final = {"DEBIAN_FRONTEND": "noninteractive", "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
_INDEX: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_YES: Final = 'APT::Get::Assume-Yes "true";\n'  # what a person answers
_CERTIFICATE: Final = f"""
set -eu
cd /etc/ssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=A local authority' \
    -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN={HOST}' -keyout key.pem -out request.pem
printf 'subjectAltName=DNS:{HOST}' > names
mkdir -p /etc/letsencrypt/live/{HOST}
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names \
    -out /etc/letsencrypt/live/{HOST}/fullchain.pem
mv key.pem /etc/letsencrypt/live/{HOST}/privkey.pem
cat ca.pem >> certs/ca-certificates.crt
"""


class StepFailed(Exception):
    """A command of the operator failed; the message has what it printed."""


def make_base(target: Path) -> None:
    """A fresh Debian with systemd, nginx, and a certificate for `HOST` by an authority that it trusts."""
    site = output("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split()[0]
    output("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", target, site)
    (target / "etc/apt/apt.conf.d/90as-outside").write_text(output("apt-config", "dump", "Acquire") + _YES)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", target / "etc/ssl/certs/ca-certificates.crt")
    (target / "etc/hosts").write_text(f"127.0.0.1 localhost {HOST}\n::1 localhost\n")
    machine = Machine(target)
    machine.fetch(
        "apt-get update -q && apt-get install -q -y --no-install-recommends"
        " dbus nginx-light openssl systemd systemd-sysv"
    )
    machine.fetch(_CERTIFICATE)
    (target / "etc/nginx/sites-enabled/default").unlink()


@dataclass(slots=True)
class Machine:
    root: Path
    network: str = field(default_factory=lambda: f"inbox-{secrets.token_hex(4)}")
    _leader: int = 0

    def fetch(self, script: str) -> str:
        """Run commands before it boots, with the network of this machine."""
        environment = {**_FETCHING, **{name: os.environ[name] for name in _INDEX if name in os.environ}}
        settings = [f"--setenv={name}={value}" for name, value in environment.items()]
        here: tuple[str | Path, ...] = (
            "--as-pid2",
            f"--machine={self.network}",
            "--resolv-conf=replace-host",
            "--pipe",
            *settings,
            "--directory",
            self.root,
        )
        return output(*_COMMON, *here, "/bin/bash", "-euc", script)

    @contextlib.contextmanager
    def booted(self) -> Iterator[None]:
        """The machine, when systemd says that it is up."""
        told = self.root.parent / f"{self.network}.notify"
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
            (self.root.parent / "console").open("wb") as log,
        ):
            notices.bind(str(told))
            notices.settimeout(BOOT_SECONDS)
            space = f"--network-namespace-path=/run/netns/{self.network}"
            command = (
                *_COMMON,
                "--boot",
                f"--machine={self.network}",
                "--notify-ready=yes",
                "--console=pipe",
                space,
                "--directory",
                self.root,
            )
            environment = {**os.environ, "NOTIFY_SOCKET": str(told)}
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while b"READY=1" not in notices.recv(4096).split(b"\n"):
                    pass
                self._leader = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
                yield
            finally:
                os.kill(self._leader or process.pid, signal.SIGKILL)  # nothing here is needed any more
                process.wait()

    def run(self, script: str) -> str:
        """Run commands as root in the booted machine. Raises `StepFailed`."""
        inside = ("nsenter", f"--target={self._leader}", "--all", "/bin/bash", "-lc")
        try:
            return output(*inside, f"set -e; cd; {script}")
        except StepFailed as failed:
            journal = output(*inside, "journalctl --no-pager --lines=40 --unit=inbox-server")
            raise StepFailed(f"{failed}\n{journal}") from None


@contextlib.contextmanager
def own_network(machine: Machine) -> Iterator[None]:
    """A network namespace with nothing but loopback."""
    output("ip", "netns", "add", machine.network)
    try:
        output("ip", "-n", machine.network, "link", "set", "lo", "up")
        yield
    finally:
        output("ip", "netns", "del", machine.network)


def output(*command: str | Path, environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """What a program prints. Raises `StepFailed`."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise StepFailed(f"{command[-1]}\nexit code {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout
