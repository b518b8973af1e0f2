"""Databases of a test's own on the server of the test run, and PostgreSQL's own tools on them.

A schema is enough for most tests (`postgres.py`); a copy is made of a database, and put back into an empty one.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.support.postgres import schema_of, server
from tests.support.postgres_server import INSTALLED, OWNER, write_password


@dataclass(frozen=True, slots=True)
class Database:
    """One that the ordinary role owns."""

    name: str

    @property
    def url(self) -> str:
        return f"{server().url.rpartition('/')[0]}/{self.name}"

    def password_file(self, folder: Path) -> str:
        """A new file in this folder."""
        return str(write_password(folder, server().password))

    async def make(self) -> None:
        """Empty, also if there is one."""
        await self.drop()
        await _as_admin(f"CREATE DATABASE {self.name} OWNER {OWNER}")

    async def drop(self) -> None:
        await _as_admin(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    async def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's tools, as the ordinary role."""
        environment = {"PGPASSWORD": server().password, "LD_LIBRARY_PATH": str(INSTALLED / "lib")}
        done = await asyncio.to_thread(
            subprocess.run,
            [str(INSTALLED / "bin" / program), *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")

    async def dump(self, file: Path, *more: str) -> None:
        await self.run("pg_dump", "--format=custom", f"--file={file}", *more, self.url)

    async def put_back(self, file: Path) -> None:
        """In place of what is there."""
        await self.make()
        await self.run("pg_restore", "--no-owner", f"--dbname={self.url}", str(file))


@contextlib.asynccontextmanager
async def new_database(folder: Path) -> AsyncIterator[Database]:
    """An empty one, named for the folder of a test."""
    database = Database(f"{schema_of(folder)}_database")
    await database.make()
    try:
        yield database
    finally:
        await database.drop()


async def _as_admin(sql: str) -> None:
    connection = await asyncpg.connect(server().admin_url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
