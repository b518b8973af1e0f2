#!/usr/bin/env bash
# One would guess: where a join has two columns called `id`, row["id"] is ambiguous and so an error, or is the same one in all drivers: the last, as
#   when a dict is filled from left to right.
# What happens: none raises. sqlite3.Row (aiosqlite's too) gives the first one; asyncpg, psycopg's dict_row, and SQLAlchemy on top of that very
#   sqlite3 give the last. So `SELECT * FROM person LEFT JOIN mail ...` gives the person's id in one, and in the others that of the mail,
#   or None for a person without mail. dict(row) goes the same ways.
# Version: sqlite3 of Python 3.11.7; aiosqlite 0.22.1, SQLAlchemy 2.1.9, asyncpg 0.32.0 and psycopg 3.3.9 from PyPI; PostgreSQL 15 from Debian
#   (postgresql-15, 15.18), and 18.6. Ann, 1, has mail 7; Bob, 2, has none.
#   Seen: sqlite3.Row: 1 2; aiosqlite: 1 2; SQLAlchemy with sqlite: 7 None; asyncpg: 7 None; psycopg: 7 None
# Who meets it: those who move from SQLite to PostgreSQL, put SQLAlchemy in between, or test on one and run on the other: ids that exist, of the wrong
#   table, and no error. Name the columns in the SELECT; for a Row of sqlite3 or a Record of asyncpg, `len(row) != len(dict(row))` shows it.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --disable-pip-version-check aiosqlite==0.22.1 sqlalchemy==2.1.9 asyncpg==0.32.0 'psycopg[binary]==3.3.9' 2>/dev/null
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h '' -c fsync=off" -l "$folder/data/log" -w start >/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio, sqlite3, sys, aiosqlite, asyncpg, psycopg, sqlalchemy
from psycopg.rows import dict_row

SCRIPT = """
CREATE TABLE person (id integer, name text);
CREATE TABLE mail (id integer, person integer);
INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO mail VALUES (7, 1);
"""
QUERY = "SELECT * FROM person LEFT JOIN mail ON mail.person = person.id ORDER BY person.id"

def with_sqlite3():
    db = sqlite3.connect("file")
    db.row_factory = sqlite3.Row
    db.executescript(SCRIPT)
    return db.execute(QUERY).fetchall()

async def with_aiosqlite():
    async with aiosqlite.connect("file") as db:
        db.row_factory = aiosqlite.Row
        return await db.execute_fetchall(QUERY)

def with_sqlalchemy():
    with sqlalchemy.create_engine("sqlite:///file").connect() as connection:
        return connection.execute(sqlalchemy.text(QUERY)).mappings().all()

async def with_asyncpg():
    connection = await asyncpg.connect(host=sys.argv[1], user="user", database="postgres")
    await connection.execute(SCRIPT)
    return await connection.fetch(QUERY)

def with_psycopg():
    with psycopg.connect(host=sys.argv[1], user="user", dbname="postgres", row_factory=dict_row) as connection:
        return connection.execute(QUERY).fetchall()

rows = {
    "sqlite3.Row": with_sqlite3(),
    "aiosqlite": asyncio.run(with_aiosqlite()),
    "SQLAlchemy with sqlite": with_sqlalchemy(),
    "asyncpg": asyncio.run(with_asyncpg()),
    "psycopg": with_psycopg(),
}
assert all(row["id"] == dict(row)["id"] for found in rows.values() for row in found)
print("; ".join(f"{name}: {' '.join(str(row['id']) for row in found)}" for name, found in rows.items()))
PY
)
echo "$seen"
expected='sqlite3.Row: 1 2; aiosqlite: 1 2; SQLAlchemy with sqlite: 7 None; asyncpg: 7 None; psycopg: 7 None'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: an ambiguous name is an error, or gives the same column in all."; exit 1; }
