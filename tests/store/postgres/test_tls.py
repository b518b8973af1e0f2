"""The line to PostgreSQL is secured as `store.url` says, or there is none."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from inbox_server.store.postgres.primary import Cluster, Failure
from tests.support import postgres_server
from tests.support.bent import self_signed
from tests.support.postgres_server import OWNER, Server, account

pytestmark = pytest.mark.postgres


@dataclass(frozen=True, slots=True)
class Secured:
    """A server that has a certificate for 127.0.0.1, which is its own authority too."""

    server: Server

    @property
    def certificate(self) -> Path:
        return Path(self.server.data) / "tls.pem"

    def cluster(self, *, host: str = "127.0.0.1", trust: Path | None = None) -> Cluster:
        port = self.server.url.rpartition(":")[2].partition("/")[0]
        how = f"sslmode=verify-full&sslrootcert={trust or self.certificate}"
        return Cluster(f"postgresql://{OWNER}@{host}:{port}/{OWNER}?{how}", self.server.password)

    async def turn_on(self) -> None:
        connection = await asyncpg.connect(self.server.admin_url)
        try:
            for setting in ("ssl_cert_file = 'tls.pem'", "ssl_key_file = 'tls.pem'", "ssl = on"):
                await connection.execute(f"ALTER SYSTEM SET {setting}")
            await connection.execute("SELECT pg_reload_conf()")
            while await connection.fetchval("SELECT setting FROM pg_settings WHERE name = 'ssl'") != "on":
                await connection.fetchval("SELECT pg_sleep(0.01)")
        finally:
            await connection.close()


@pytest.fixture
def secured() -> Iterator[Secured]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with postgres_server.running(Path(folder)) as server:
            secured = Secured(server)
            self_signed(Path(server.data))
            secured.certificate.chmod(0o600)
            account().own(secured.certificate)
            yield secured


async def test_the_host_must_be_the_one_that_the_certificate_is_for(secured: Secured, tmp_path: Path) -> None:
    with pytest.raises(Failure):  # it offers no TLS yet
        await secured.cluster().connect()
    await secured.turn_on()
    connection = await secured.cluster().connect()
    try:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    finally:
        await connection.close()
    with pytest.raises(OSError, match="Hostname mismatch"):
        await secured.cluster(host="localhost").connect()
    self_signed(tmp_path)  # a stranger
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        await secured.cluster(trust=tmp_path / "tls.pem").connect()
