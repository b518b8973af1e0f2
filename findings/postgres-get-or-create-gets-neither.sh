#!/usr/bin/env bash
# One would guess: "insert, ON CONFLICT DO NOTHING RETURNING id, UNION ALL what was there" in one statement always yields the id: the row is
#   either made or found.
# What happens: a row that another transaction commits meanwhile is neither. ON CONFLICT waits for it and then does nothing, and the SELECT
#   sees the database as it was when the statement began, without that row. The statement succeeds with no row; asked again, it has one.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI.
#   Seen of two that ask for the same name at once: first: [1]; second: []; second again: [1]; DO UPDATE: [1], [1]
# Who meets it: "get or create" of users, tags and message ids under load; the caller's `fetchval` gives None, once in a while. Ask again
#   when there is no row, or write `DO UPDATE SET name = excluded.name RETURNING id`, which costs a new version of the row each time.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncpg==0.32.0 2>/dev/null
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h '' -c fsync=off" -l "$folder/data/log" -w start >/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio, sys, asyncpg

GET_OR_CREATE = """
    WITH made AS (INSERT INTO person (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id)
    SELECT id FROM made UNION ALL SELECT id FROM person WHERE name = $1"""
UPSERT = "INSERT INTO person (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id"

def connect():
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres")

async def ids(connection, statement, name):
    return [row["id"] for row in await connection.fetch(statement, name)]

async def both(statement, name):
    """The second one asks while the first one has not committed."""
    first, second, watcher = [await connect() for _ in range(3)]
    async with first.transaction():
        one = await ids(first, statement, name)
        asking = asyncio.create_task(ids(second, statement, name))
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    return one, await asking

async def main():
    connection = await connect()
    await connection.execute("CREATE TABLE person (id int GENERATED ALWAYS AS IDENTITY, name text UNIQUE)")
    one, other = await both(GET_OR_CREATE, "bob")
    again = await ids(connection, GET_OR_CREATE, "bob")
    await connection.execute("TRUNCATE person RESTART IDENTITY")
    updated = await both(UPSERT, "bob")
    print(f"first: {one}; second: {other}; second again: {again}; DO UPDATE: {updated[0]}, {updated[1]}")

asyncio.run(main())
PY
)
echo "$seen"
expected='first: [1]; second: []; second again: [1]; DO UPDATE: [1], [1]'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the row of the other transaction is found."; exit 1; }
