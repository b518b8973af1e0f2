"""A primary that waits for its streaming standby, both with files of their own: and all that is in these files."""

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from inbox_server.store.postgres.primary import Cluster
from tests.support.postgres_server import OWNER, Server, make_folder, programs, running
from tests.support.serving import free_port

_SETTINGS = (
    "synchronous_standby_names = '*'",
    "synchronous_commit = 'remote_apply'",
    "wal_keep_size = '1GB'",  # the worst case: nothing of the log goes, as with an archive
    "hot_standby_feedback = 'off'",
)


@dataclass(frozen=True, slots=True)
class Streaming:
    """Two nodes: the primary's first, then its standby's folder, each with its log beside its data."""

    server: Server
    folders: tuple[Path, Path]
    standby_url: str

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.server.url, self.server.password)

    async def execute(self, *statements: str) -> None:
        """As the superuser, in the database of the store."""
        connection = await asyncpg.connect(self.server.admin_url.rpartition("/")[0] + f"/{OWNER}")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def write_out(self) -> None:
        """Both nodes write what they have in memory into their files, once the standby has all that there is."""
        await self.execute("CHECKPOINT", "CREATE TABLE followed ()", "DROP TABLE followed")  # remote_apply waits
        standby = await asyncpg.connect(self.standby_url)
        try:
            assert await standby.fetchval("SELECT pg_is_in_recovery()")
            await standby.execute("CHECKPOINT")
        finally:
            await standby.close()

    def holding(self, pieces: Sequence[bytes]) -> tuple[int, int]:
        """How many of these pieces are in any file of the primary, and of the standby."""
        primary, standby = (_found(folder, pieces) for folder in self.folders)
        return primary, standby


def _found(folder: Path, pieces: Sequence[bytes]) -> int:
    left = set(pieces)
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # PostgreSQL removed it meanwhile
            if path.is_file():
                content = path.read_bytes()
                left = {piece for piece in left if piece not in content}
    return len(set(pieces)) - len(left)


@contextlib.contextmanager
def streaming_pair() -> Iterator[Streaming]:
    """A new pair. Raises `CannotRun`."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for folder in (one, other):
            Path(folder).chmod(0o755)
        with (
            running(Path(one), secrets.token_hex(), settings={"fsync": "off"}) as server,
            _standby(Path(other), server) as url,
        ):
            yield Streaming(server, (Path(one) / "server", Path(other) / "server"), url)


@contextlib.contextmanager
def _standby(folder: Path, primary: Server) -> Iterator[str]:
    """A copy of the primary that follows it; its superuser's URL."""
    postgres = programs(folder)
    home, port = make_folder(folder / "server", postgres.account), free_port()
    data, log = home / "data", home / "log"
    copy = (f"--dbname={primary.admin_url}", f"--pgdata={data}", "--write-recovery-conf", "--checkpoint=fast")
    settings = Path(primary.data) / "postgresql.auto.conf"
    settings.write_text("\n".join((*_SETTINGS[2:], "")))
    postgres.run("pg_ctl", "reload", f"--pgdata={primary.data}", cwd=home)
    postgres.run("pg_basebackup", *copy, "--no-sync", cwd=home)
    postgres.run("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}", f"--options=-p {port}", cwd=home)
    try:
        settings.write_text("\n".join((*_SETTINGS, "")))
        postgres.run("pg_ctl", "reload", f"--pgdata={primary.data}", cwd=home)
        port_of_primary = primary.admin_url.rpartition(":")[2].partition("/")[0]
        yield primary.admin_url.replace(f":{port_of_primary}/", f":{port}/")
    finally:
        postgres.run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={data}", cwd=home)
