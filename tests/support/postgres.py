"""The PostgreSQL server of a test run, which all its processes share; a schema in it for each folder of a test."""

import asyncio
import fcntl
import functools
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from inbox_server.store.postgres.primary import Cluster
from tests.support.javascript import missing
from tests.support.postgres_server import USERS, CannotRun, Server, start_keeper, write_password

T = TypeVar("T")
_RUN: Final = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16)
_schemas: Final[set[str]] = set()


@functools.cache
def server() -> Server:
    """The run's server: whoever needs it first starts it, and it ends after the last. Raises `CannotRun`."""
    folder = Path(tempfile.gettempdir()) / f"inbox-postgres-{_RUN}"
    folder.mkdir(mode=0o755, exist_ok=True)
    users = os.open(folder / USERS, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(users, fcntl.LOCK_SH)  # until this process ends
    known = folder / "known.json"
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not known.exists():
            known.touch(mode=0o600)
            try:
                known.write_text(json.dumps(asdict(start_keeper(folder))))
            except CannotRun:
                os.close(users)
                raise
        return Server(**json.loads(known.read_text()))


@functools.cache
def _why_not() -> str | None:
    try:
        server()
    except CannotRun as error:
        return str(error)
    return None


def need_postgres() -> None:
    """Skip the test on a user's machine where PostgreSQL does not run, and fail it in CI."""
    if reason := _why_not():
        missing(reason)


def schema_of(folder: Path) -> str:
    return f"test_{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:20]}"


def url_of(folder: Path) -> str:
    """The URL of the database that a test has in a folder: a schema of its own, until the test is over."""
    name = schema_of(folder)
    if name not in _schemas:
        _schemas.add(name)
        _ask(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return f"{server().url}?search_path={name}"


def cluster_of(folder: Path) -> Cluster:
    """The same database, as stores know it."""
    return Cluster(url_of(folder), server().password)


def config_of(folder: Path) -> dict[str, str]:
    """The section `store` of the configuration of a server that has its database there."""
    folder.mkdir(parents=True, exist_ok=True)
    return {"url": url_of(folder), "password_file": str(write_password(folder, server().password))}


def read_rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the database of a test has, read beside the store."""
    return [tuple(row) for row in _ask(f"SET search_path = {schema_of(folder)}", sql)]


def drop_schemas() -> None:
    """What the test that is over has left. Each takes a lock for each of its tables, so one after the other."""
    while _schemas:
        _ask("SET lock_timeout = '20s'", f"DROP SCHEMA IF EXISTS {_schemas.pop()} CASCADE")


def _ask(*statements: str) -> list[asyncpg.Record]:
    """The rows of the last statement."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(server().url, password=server().password)
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return _elsewhere(ask())


def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of another thread: a test has one of its own, which runs or does not run now."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()
