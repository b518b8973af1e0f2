"""PostgreSQL's own programs, as `make postgres` brings them, and a server in a folder of its own on loopback.

    python -m tests.support.postgres_server FOLDER

keeps one in FOLDER until no process holds its file `users` locked any more: also when they ended by Ctrl-C or a kill.
Then it removes the folder. The kernel unlocks what a process held, however it ends.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.support.serving import free_port

INSTALLED: Final = Path(__file__).parent.parent.parent / ".venv" / "postgresql"
USERS: Final = "users"
OWNER: Final = "inbox"
ADMIN: Final = "postgres"
_keepers: Final[list[subprocess.Popen[str]]] = []  # they outlive us
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(40 * (os.cpu_count() or 1) + 40),  # a store takes about 8
    "max_locks_per_transaction": "256",  # a schema has a table for each day
    "shared_buffers": "64MB",
    "wal_recycle": "off",
    "log_error_verbosity": "terse",
    "password_encryption": "scram-sha-256",
    "scram_iterations": "1",  # the password is random; a test makes many connections
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class CannotRun(Exception):
    """There is no PostgreSQL here that runs; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who PostgreSQL's programs run as: root may not."""

    uid: int | None = None
    gid: int | None = None

    def popen(self) -> dict[str, Any]:
        """Arguments for `subprocess`."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def account() -> Account:
    """Nobody, for root; else whoever runs this."""
    if os.geteuid() != 0:
        return Account()
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's programs, where its account can run them."""

    folder: Path
    account: Account

    def path(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    @property
    def environment(self) -> dict[str, str]:
        """Some of its libraries look for the others where they were built."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self.folder / "lib"), "LC_ALL": "C"}

    def run(self, name: str, *arguments: str, cwd: Path) -> None:
        """Raises `CannotRun`."""
        done = subprocess.run(
            [self.path(name), *arguments],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.account.popen(),
        )
        if done.returncode != 0:
            raise CannotRun(f"{name} fails: {done.stdout.strip()[-1000:]}")


def programs(folder: Path) -> Programs:
    """Put them into `folder`, if root's own copy is out of their account's reach. Raises `CannotRun`."""
    if not (INSTALLED / "installed").exists():
        raise CannotRun("there is no PostgreSQL: make postgres installs it")
    account_of_it, place = account(), INSTALLED
    if account_of_it.uid is not None:
        place = folder / "programs"
        for part in ("bin", "lib", "share"):
            shutil.copytree(INSTALLED / part, place / part, symlinks=True)
    found = Programs(place, account_of_it)
    found.run("postgres", "--version", cwd=folder)
    return found


def make_folder(path: Path, account: Account) -> Path:
    """A folder that belongs to this account, and that nobody else can enter."""
    path.mkdir(mode=0o700)
    account.own(path)
    return path


def write_password(folder: Path, password: str) -> Path:
    """A file for `store.password_file`, as a server wants it: nobody else can read it."""
    path = folder / "database-password"
    path.touch(mode=0o600)
    path.write_text(password)
    return path


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs. `url` is a database that an ordinary role owns, `admin_url` the superuser's."""

    url: str
    password: str = field(repr=False)
    admin_url: str = field(repr=False)
    data: str
    log: str


@contextlib.contextmanager
def running(
    folder: Path, password: str | None = None, *, promoted: bool = False, settings: Mapping[str, str] = _SETTINGS
) -> Iterator[Server]:
    """A new server in an empty folder, which others can enter; `settings` go beside ours. Raises `CannotRun`.

    One that was `promoted` is on its second timeline, as after a failover.
    """
    postgres = programs(folder)
    home = make_folder(folder / "server", postgres.account)
    data, log, port, password = home / "data", home / "log", free_port(), password or secrets.token_hex()
    password_file = home / "password"
    password_file.write_text(password)
    postgres.account.own(password_file)
    options = [part for name, value in {**_SETTINGS, **settings}.items() for part in ("-c", f"{name}={value}")]
    sign_in = ("--auth=scram-sha-256", f"--username={ADMIN}", f"--pwfile={password_file}")
    how = ("--no-sync", "--locale=C", "--encoding=UTF8")  # the server itself syncs
    postgres.run("initdb", f"--pgdata={data}", *sign_in, *how, *options, "-c", f"port={port}", cwd=home)
    if promoted:
        (data / "standby.signal").touch()
    # Its output goes to the log, or whoever started this would wait for the server to close it.
    postgres.run("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}", cwd=home)
    try:
        if promoted:
            postgres.run("pg_ctl", "promote", "--wait", f"--pgdata={data}", cwd=home)
        admin_url = f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/postgres"
        asyncio.run(_make_owner(admin_url, password))
        yield Server(f"postgresql://{OWNER}@127.0.0.1:{port}/{OWNER}", password, admin_url, str(data), str(log))
    finally:
        postgres.run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={data}", cwd=home)


async def _make_owner(admin_url: str, password: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{password}'")
        await connection.execute(f"CREATE DATABASE {OWNER} OWNER {OWNER}")
    finally:
        await connection.close()


def start_keeper(folder: Path) -> Server:
    """Let a process of its own keep a server in `folder`, whose file `users` this process holds. Raises `CannotRun`."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder)],
        cwd=INSTALLED.parent.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests; the keeper ends after them
    )
    _keepers.append(keeper)
    assert keeper.stdout
    with keeper.stdout as said:
        found: Mapping[str, str] = json.loads(said.readline() or '{"reason": "the keeper ended"}')
    if "reason" in found:
        keeper.wait()
        raise CannotRun(found["reason"])
    return Server(**found)


def _keep(folder: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with (folder / USERS).open() as users, running(folder) as server:
            sys.stdout.write(json.dumps(asdict(server)) + "\n")
            sys.stdout.flush()
            fcntl.flock(users, fcntl.LOCK_EX)
    except CannotRun as error:
        sys.stdout.write(json.dumps({"reason": str(error)}) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
