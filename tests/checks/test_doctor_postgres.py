"""`inbox-server doctor` with PostgreSQL: each check was seen to fail, on a server that is as it must not be."""

import asyncio
import contextlib
import itertools
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from inbox_server.checks.database_server import judge_database_server
from inbox_server.checks.inside import check_deployment
from inbox_server.checks.results import Finding, Findings
from inbox_server.clock import DAY_SECONDS
from inbox_server.config.config import Config
from inbox_server.config.file import load_config
from inbox_server.config.secret import add_secret, read_secret
from inbox_server.store.choosing import cluster_of, day_keys_file, open_store
from inbox_server.store.contract import BadDatabase
from inbox_server.store.postgres.day_keys import make_day_keys
from inbox_server.store.postgres.inspect import inspect
from inbox_server.store.postgres.opening import connected
from tests.commands.test_client_only import run_without
from tests.support import postgres_server
from tests.support.poolers import pooling
from tests.support.postgres_server import OWNER, Server, write_password
from tests.support.serving import Deployment, client_session, deploy, free_port

pytestmark = pytest.mark.postgres
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment whose database is on a server that no other test uses."""

    folder: Path
    server: Server
    database: str

    @property
    def config(self) -> Config:
        return load_config(self.folder / "config.toml")

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2].partition("/")[0])

    def name(
        self, *, user: str = OWNER, port: int | None = None, more: str = "", admin: str = "", cluster: str = ""
    ) -> Deployment:
        """Configure this database. `cluster` is a schema of it that is a second one."""
        url = f"postgresql://{user}@127.0.0.1:{port or self.port}/{self.database}{more}"
        (self.folder / "secret").unlink(missing_ok=True)
        store: dict[str, Any] = {"store__url": url, "store__password_file": "database-password"}
        if cluster:
            store |= {"store__url": "", "store__urls": [url, f"{url}?search_path={cluster}"]}
        return deploy(self.folder, **store, server__admin_listen=admin)

    async def ask(self, *statements: str) -> None:
        """As the superuser."""
        await _ask(self.server, self.database, *statements)

    async def doctor(self, *, clock: Callable[[], float] = time.time) -> dict[str, Finding]:
        """What was found, by check; of two by the same name the graver."""
        findings = Findings(lambda _: None)
        path = self.folder / "config.toml"
        await check_deployment(path, findings, name=None, app=None, seconds=1.0, clock=clock)
        assert all(finding.advice for finding in findings.all if finding.verdict in ("failed", "warning"))
        assert self.server.password not in str(findings.all)
        return _by_check(findings)

    async def use(self) -> None:
        """As a server does that is started here and stopped."""
        check_value = read_secret(self.config.secret_file).hashes().check_value()
        async with open_store(self.config, check_value=check_value):
            pass


def _by_check(findings: Findings) -> dict[str, Finding]:
    order = ["skipped", "ok", "warning", "failed"]
    return {each.check: each for each in sorted(findings.all, key=lambda each: order.index(each.verdict))}


async def _ask(server: Server, database: str, *statements: str) -> None:
    connection = await asyncpg.connect(server.admin_url.rpartition("/")[0] + f"/{database}")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One whose settings may be wrong for a while."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with postgres_server.running(Path(folder)) as server:
            yield server


@pytest.fixture
async def place(tmp_path: Path, server: Server) -> AsyncIterator[Place]:
    """A deployment on an empty database."""
    place = Place(tmp_path, server, f"doctor_{next(_NUMBERS)}")
    await _ask(server, "postgres", f"CREATE DATABASE {place.database} OWNER {OWNER}")
    write_password(tmp_path, server.password)
    place.name()
    yield place
    await _ask(server, "postgres", f"DROP DATABASE {place.database} WITH (FORCE)")


def _verdicts(found: dict[str, Finding], verdict: str) -> set[str]:
    return {finding.check for finding in found.values() if finding.verdict == verdict}


async def test_a_database_that_was_never_used_is_in_order_and_stays_empty(place: Place) -> None:
    found = await place.doctor()
    assert _verdicts(found, "failed") == set()
    assert _verdicts(found, "warning") == {"standby"}
    assert {"database", "day keys"} <= _verdicts(found, "skipped")
    assert "there are no tables yet" in found["database"].said
    await place.doctor()
    assert not day_keys_file(place.config).exists()


async def test_a_database_in_use_is_in_order(place: Place) -> None:
    await place.use()
    found = await place.doctor()
    assert _verdicts(found, "failed") == set()
    assert _verdicts(found, "warning") == {"standby"}
    good = {"database", "database rights", "database settings", "database log", "database clock", "notifications"}
    assert {*good, "day keys"} <= _verdicts(found, "ok")
    assert "PostgreSQL 18." in found["database"].said


@pytest.mark.parametrize(
    ("setting", "check", "verdict", "said"),
    [
        ("wal_recycle = on", "database settings", "warning", "wal_recycle is on"),
        ("log_error_verbosity = verbose", "database settings", "warning", "log_error_verbosity is verbose"),
        ("log_statement = 'mod'", "database log", "warning", "log_statement = mod"),
        ("log_min_duration_statement = 100", "database log", "warning", "log_min_duration_statement = 100"),
        ("log_min_duration_sample = 100", "database log", "warning", "log_min_duration_sample = 100"),
        ("log_transaction_sample_rate = 0.5", "database log", "warning", "log_transaction_sample_rate = 0.5"),
    ],
)
async def test_a_setting_of_the_database_is_seen(
    place: Place, setting: str, check: str, verdict: str, said: str
) -> None:
    await place.ask(f"ALTER DATABASE {place.database} SET {setting}")
    found = (await place.doctor())[check]
    assert found.verdict == verdict
    assert said in found.said


async def test_the_isolation_that_a_database_has_by_default_is_no_matter(place: Place) -> None:
    await place.ask(f"ALTER DATABASE {place.database} SET default_transaction_isolation = 'serializable'")
    assert (await place.doctor())["database settings"].verdict == "ok"


async def test_logged_statements_without_their_parameters_are_in_order(place: Place) -> None:
    await place.ask(
        f"ALTER DATABASE {place.database} SET log_statement = 'all'",
        f"ALTER DATABASE {place.database} SET log_parameter_max_length = 0",
    )
    assert (await place.doctor())["database log"].verdict == "ok"


@pytest.mark.parametrize(
    ("setting", "verdict"), [("fsync", "failed"), ("full_page_writes", "failed"), ("autovacuum", "warning")]
)
async def test_a_setting_of_the_whole_server_is_seen(place: Place, setting: str, verdict: str) -> None:
    await _set(place, f"SET {setting} = off", setting, "off")
    try:
        found = (await place.doctor())["database settings"]
    finally:
        await _set(place, f"RESET {setting}", setting, "on")
    assert found.verdict == verdict
    assert f"{setting} is off" in found.said


async def _set(place: Place, how: str, setting: str, value: str) -> None:
    """Change the server's configuration, and wait until it has heard of that."""
    await place.ask(f"ALTER SYSTEM {how}", "SELECT pg_reload_conf()")
    connection = await asyncpg.connect(place.server.admin_url)
    try:
        while await connection.fetchval("SELECT setting FROM pg_settings WHERE name = $1", setting) != value:
            await connection.fetchval("SELECT pg_sleep(0.01)")
    finally:
        await connection.close()


async def test_too_few_connections_for_the_processes_of_this_host_are_seen(place: Place) -> None:
    found = (await place.doctor())["database connections"]
    assert found.verdict == "ok"
    config = place.folder / "config.toml"
    text = config.read_text()
    for key, few, many in (("processes", 1, 64), ("connections", 8, 64)):
        text = text.replace(f"\n{key} = {few}\n", f"\n{key} = {many}\n")
    config.write_text(text)
    found = (await place.doctor())["database connections"]
    assert (found.verdict, "need 4096" in found.said) == ("warning", True)


@pytest.mark.parametrize("of", ["ROLE {role}", "DATABASE {database}"])
async def test_a_limit_of_connections_that_is_not_the_server_s_is_seen(place: Place, of: str) -> None:
    whose = of.format(role=OWNER, database=place.database)
    await place.ask(f"ALTER {whose} CONNECTION LIMIT 7")
    found = (await place.doctor())["database connections"]
    await place.ask(f"ALTER {whose} CONNECTION LIMIT -1")
    assert (found.verdict, "need 8, and all hosts together may have 7" in found.said) == ("warning", True)


async def test_what_the_role_may_not_do_is_seen(place: Place) -> None:
    await place.ask("CREATE SCHEMA of_others", f"GRANT USAGE ON SCHEMA of_others TO {OWNER}")
    place.name(more="?search_path=of_others")
    found = (await place.doctor())["database rights"]
    assert (found.verdict, "may not create tables" in found.said) == ("failed", True)
    await place.ask(f"GRANT CREATE ON SCHEMA of_others TO {OWNER}", "CREATE TABLE of_others.inbox ()")
    found = (await place.doctor())["database rights"]
    assert (found.verdict, "does not own all tables" in found.said) == ("failed", True)
    place.name(user="postgres")
    found = (await place.doctor())["database rights"]
    assert (found.verdict, "superuser" in found.said) == ("warning", True)


async def test_columns_whose_values_would_be_copied_are_seen(place: Place) -> None:
    await place.use()
    await place.ask("ALTER TABLE message ALTER COLUMN id SET STATISTICS 100")
    found = (await place.doctor())["database settings"]
    assert (found.verdict, "message.id" in found.said) == ("warning", True)


async def test_a_database_of_another_program_is_seen_and_left_as_it_is(place: Place) -> None:
    tables = "CREATE TABLE recipe (text text)", f"ALTER TABLE recipe OWNER TO {OWNER}"
    await place.ask("CREATE EXTENSION pg_stat_statements", *tables)
    found = (await place.doctor())["database"]
    assert (found.verdict, "of another program" in found.said) == ("failed", True)
    with pytest.raises(BadDatabase, match=r"of another program, such as recipe\."):
        await place.use()
    async with connected(cluster_of(place.config)) as db:
        assert await db.fetchval("SELECT to_regclass('schema_step')") is None
    await place.ask("DROP TABLE recipe")
    await place.use()  # what an extension made is in nobody's way
    await place.ask(*tables)
    await place.use()  # nor what came later


async def test_another_secret_is_seen(place: Place) -> None:
    await place.use()
    place.config.secret_file.write_text("ab" * 32)
    found = (await place.doctor())["database"]
    assert (found.verdict, "another secret" in found.said) == ("failed", True)


async def test_a_database_under_an_older_line_of_the_secret_is_seen(place: Place) -> None:
    await place.use()
    add_secret(place.config.secret_file, b"another secret, with 32 bytes ..")
    found = (await place.doctor())["database"]
    assert (found.verdict, "older line" in found.said) == ("warning", True)
    await place.use()


async def test_a_newer_schema_is_seen(place: Place) -> None:
    await place.use()
    await place.ask("INSERT INTO schema_step (number) VALUES (1000)")
    found = (await place.doctor())["database"]
    assert (found.verdict, "newer version" in found.said) == ("failed", True)


async def test_a_copy_that_was_put_back_is_seen(place: Place) -> None:
    await place.use()
    await place.ask("CREATE TABLE again AS SELECT * FROM home", "DELETE FROM home", "INSERT INTO home TABLE again")
    found = (await place.doctor())["database"]
    assert (found.verdict, "after-restore" in found.said) == ("failed", True)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("source", "is being copied to another database"),
        ("left", "was copied to another database"),
        ("target", "is not whole"),
    ],
)
async def test_a_database_that_is_or_was_part_of_a_migration_is_seen(place: Place, state: str, said: str) -> None:
    await place.use()
    await place.ask(f"INSERT INTO migration (one, mark, state) VALUES (1, 'mark', '{state}')")
    found = (await place.doctor())["database"]
    assert (found.verdict, said in found.said) == ("failed", True)
    await place.ask("UPDATE migration SET state = 'whole'")
    assert (await place.doctor())["database"].verdict == "ok"


async def test_shards_that_are_on_their_way_or_nowhere_are_seen(place: Place) -> None:
    await place.ask(f"CREATE SCHEMA second AUTHORIZATION {OWNER}")
    place.name(cluster="second")
    assert (await place.doctor())["shards"].verdict == "skipped"
    await place.use()
    found = (await place.doctor())["shards"]
    assert (found.verdict, "128, 128" in found.said) == ("ok", True)
    await place.ask("UPDATE shard SET target = (SELECT id FROM second.cluster) WHERE number IN (4, 6)")
    found = (await place.doctor())["shards"]
    assert (found.verdict, "4, 6" in found.said) == ("warning", True)
    await place.ask("UPDATE shard SET cluster = 'another' WHERE number < 3")
    found = (await place.doctor())["shards"]
    assert (found.verdict, "3 of 256" in found.said) == ("failed", True)


async def test_a_cluster_that_is_named_twice_is_seen(place: Place) -> None:
    await place.ask(f"CREATE SCHEMA second AUTHORIZATION {OWNER}")
    place.name(cluster="second")
    await place.use()
    place.name(cluster="public")
    found = (await place.doctor())["shards"]
    assert (found.verdict, "lead to the same database" in found.said) == ("failed", True)


async def test_an_old_postgresql_is_seen(place: Place) -> None:
    config = place.config
    found = replace(await inspect(cluster_of(config)), version=140023)
    findings = Findings(lambda _: None)
    judge_database_server(found, config, read_secret(config.secret_file), findings, today=20_000)
    judged = _by_check(findings)["database"]
    assert (judged.verdict, "PostgreSQL 14.23" in judged.said) == ("failed", True)


async def test_a_clock_that_is_wrong_is_seen(place: Place) -> None:
    for wrong, said in ((-60, "60 s ahead of"), (60, "60 s behind")):
        found = (await place.doctor(clock=lambda wrong=wrong: time.time() + wrong))["database clock"]  # type: ignore[misc]
        assert (found.verdict, said in found.said) == ("warning", True)


async def test_a_pooler_that_breaks_sessions_is_seen(place: Place) -> None:
    async with pooling(place.port) as port:
        place.name(port=port)
        found = await place.doctor()
    assert "Poolers" in found["notifications"].advice
    assert found["notifications"].verdict == "warning"
    assert "lock_timeout" in found["database settings"].said
    assert found["database settings"].verdict == "failed"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncpg.ProtocolViolationError("unsupported startup parameter: jit"), "Poolers"),
        (asyncpg.DuplicatePreparedStatementError("__asyncpg_stmt_1__"), "Poolers"),
        (asyncpg.DiskFullError("a text"), "PostgreSQL's log says more"),
        (asyncpg.InvalidPasswordError("for inbox"), "refuses the role, or its password"),
        (asyncpg.InvalidAuthorizationSpecificationError("for inbox"), "refuses the role, or its password"),
        (asyncpg.InvalidCatalogNameError("inbox"), "no database of the name"),
        (asyncpg.InvalidSchemaNameError("inbox"), "search_path"),
        (asyncpg.InsufficientPrivilegeError("inbox"), "Let the role own"),
        (asyncpg.TooManyConnectionsError("inbox"), "max_connections"),
        (asyncpg.exceptions.ClientConfigurationError("hunter2"), "value in the URL mistyped"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificates"),
        (ConnectionRefusedError(111, "Connection refused"), "Does it run"),
        (FileNotFoundError(2, "No such file or directory"), "files that the URL names"),
    ],
)
async def test_a_failure_is_told_with_what_to_do_and_without_its_text(
    place: Place, error: Exception, said: str
) -> None:
    with pytest.raises(BadDatabase, match=said) as caught:
        async with connected(cluster_of(place.config)):
            raise error
    assert not isinstance(error, asyncpg.PostgresError) or str(error) not in str(caught.value)


async def test_whether_a_standby_is_in_sync_is_seen_and_ready_tells_it(place: Place) -> None:
    admin = f"127.0.0.1:{free_port()}"
    await place.ask(f"GRANT pg_read_all_stats TO {OWNER}")
    async with place.name(admin=admin).running(), client_session() as session, _standby(place):
        found = await place.doctor()
        assert {"server", "listener", "ready"} <= _verdicts(found, "ok")
        assert (found["standby"].verdict, await _ready(session, admin)) == ("warning", "none")
        await _set(place, "SET synchronous_standby_names = 'standby'", "synchronous_standby_names", "standby")
        try:
            await _until_in_sync(place)
            found = await place.doctor()
            assert (found["standby"].verdict, await _ready(session, admin)) == ("ok", "in_sync")
            await place.ask(f"REVOKE pg_read_all_stats FROM {OWNER}")
            found = await place.doctor()
            assert (found["standby"].verdict, await _ready(session, admin)) == ("warning", "unknown")
            assert "GRANT pg_read_all_stats" in found["standby"].advice
        finally:
            await _set(place, "RESET synchronous_standby_names", "synchronous_standby_names", "")


async def _ready(session: aiohttp.ClientSession, admin: str) -> str:
    async with session.get(f"http://{admin}/ready") as response:
        assert response.status == 200
        return str((await response.json())["standby"])


@contextlib.asynccontextmanager
async def _standby(place: Place) -> AsyncIterator[None]:
    """What confirms commits as a standby does: it takes the log, and has it on disk."""
    with tempfile.TemporaryDirectory() as folder:
        program = postgres_server.INSTALLED / "bin" / "pg_receivewal"
        dsn = f"{place.server.admin_url.rpartition('/')[0]}/?application_name=standby"
        receiving = await asyncio.create_subprocess_exec(
            *(program, "--synchronous", "--no-password", f"--dbname={dsn}", f"--directory={folder}"),
            env={**os.environ, "LD_LIBRARY_PATH": str(postgres_server.INSTALLED / "lib")},
        )
        try:
            yield
        finally:
            receiving.terminate()
            await receiving.wait()


async def _until_in_sync(place: Place) -> None:
    connection = await asyncpg.connect(place.server.admin_url)
    try:
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"
        ):
            await connection.fetchval("SELECT pg_sleep(0.01)")
    finally:
        await connection.close()


async def test_day_keys_that_are_lost_wrong_open_to_others_or_old_are_seen(place: Place) -> None:
    await place.use()
    path = day_keys_file(place.config)
    path.chmod(0o644)
    found = (await place.doctor())["day keys"]
    assert (found.verdict, found.advice) == ("failed", f"Run: chmod 600 {path}")
    path.chmod(0o600)
    found = (await place.doctor(clock=lambda: time.time() + 3 * DAY_SECONDS))["day keys"]
    assert (found.verdict, "opens what was read since" in found.said) == ("warning", True)
    path.write_bytes(b"damaged")
    found = (await place.doctor())["day keys"]
    assert (found.verdict, "is damaged" in found.said) == ("failed", True)
    path.unlink()
    found = (await place.doctor())["day keys"]
    assert (found.verdict, "More hosts" in found.advice) == ("failed", True)
    make_day_keys(path, int(time.time()) // DAY_SECONDS, bytes(32))
    found = (await place.doctor())["day keys"]
    assert (found.verdict, "of another database" in found.said) == ("failed", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_day_keys_that_cannot_be_written_are_seen(place: Place) -> None:
    await place.use()
    day_keys_file(place.config).chmod(0o400)
    found = (await place.doctor())["day keys"]
    assert (found.verdict, "cannot be written" in found.said) == ("failed", True)


async def test_a_password_that_is_wrong_or_missing_is_seen(place: Place) -> None:
    path = place.folder / "database-password"
    path.write_text("hunter2")
    found = (await place.doctor())["database"]
    assert (found.verdict, "cannot be used" in found.said, "hunter2" in str(found)) == ("failed", True, False)
    path.chmod(0o644)
    found = (await place.doctor())["database password"]
    assert (found.verdict, "others can read it" in found.said) == ("failed", True)


async def test_a_server_that_is_not_there_is_seen(place: Place) -> None:
    place.name(port=free_port())
    found = (await place.doctor())["database"]
    assert (found.verdict, "no primary answers at 127.0.0.1" in found.said) == ("failed", True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("sslmode=require", "It offers no TLS"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "files that the URL names"),
        ("sslmode=verify-full&sslrootcert=/etc/passwd", "certificates"),
        ("sslmode=require&ssl_min_protocol_version=none", "value in the URL mistyped"),
    ],
)
async def test_a_line_that_cannot_be_secured_is_seen(place: Place, more: str, said: str) -> None:
    place.name(more=f"?{more}")
    found = (await place.doctor())["database"]
    assert (found.verdict, said in found.advice) == ("failed", True)


def test_a_missing_asyncpg_is_seen(place: Place) -> None:
    done = run_without(["asyncpg"], "doctor", "--config", place.folder / "config.toml")
    assert done.returncode == 1
    assert "pip install 'inbox-server[server,postgres]'" in done.stdout
