#!/usr/bin/env bash
# One would guess: `fetchval` and `fetchrow` run the whole query and hand over its first row; they differ from `fetch` in what is returned.
# What happens: asyncpg asks the server for one row, so a SELECT stops there. What a function in its list does, it does once: of three
#   notifications one is sent, of three advisory locks one is held, of three rows FOR UPDATE one is locked. No error tells; psycopg's
#   `fetchone` does all three. INSERT, UPDATE and DELETE with RETURNING do run to their end.
# Version: asyncpg 0.32.0 and psycopg 3.3.9 from PyPI; PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: fetchval: notified 1, advisory locks 1, rows locked 1; fetchone: notified 3, advisory locks 3, rows locked 3
# Who meets it: those who call set-returning SQL for its effect (`SELECT pg_notify(...) FROM unnest($1)`, locks in order before a write)
#   and take `fetchval` since there is nothing to read. `execute` or `fetch` runs all of it.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncpg==0.32.0 'psycopg[binary]==3.3.9' 2>/dev/null
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h '' -c fsync=off" -l "$folder/data/log" -w start >/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio, sys, asyncpg, psycopg

NOTIFY = "SELECT pg_notify('news', n::text) FROM generate_series(1, 3) AS n"
LOCK = "SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 3) AS n"
ROWS = "SELECT n FROM entry ORDER BY n FOR UPDATE"

async def connected():
    return await asyncpg.connect(host=sys.argv[1], user="user", database="postgres")

async def fetchval():
    connection = await connected()
    async with connection.transaction():
        for query in (NOTIFY, LOCK, ROWS):
            await connection.fetchval(query)
        yield
    await connection.close()

async def fetchone():
    async with await psycopg.AsyncConnection.connect(host=sys.argv[1], user="user", dbname="postgres") as connection:
        for query in (NOTIFY, LOCK, ROWS):
            await (await connection.execute(query)).fetchone()
        yield

async def effects(watcher, calls):
    heard = []
    listener = await connected()
    await listener.add_listener("news", lambda *arguments: heard.append(arguments))
    async for _ in calls:
        locks = await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        free = len(await watcher.fetch("SELECT FROM entry FOR UPDATE SKIP LOCKED"))
    await watcher.execute("NOTIFY news, 'last'")
    while not heard or heard[-1][3] != "last":
        await asyncio.sleep(0.01)
    await listener.close()
    return f"notified {len(heard) - 1}, advisory locks {locks}, rows locked {3 - free}"

async def main():
    watcher = await connected()
    await watcher.execute("CREATE TABLE entry AS SELECT n FROM generate_series(1, 3) AS n")
    print(f"fetchval: {await effects(watcher, fetchval())}; fetchone: {await effects(watcher, fetchone())}")

asyncio.run(main())
PY
)
echo "$seen"
expected='fetchval: notified 1, advisory locks 1, rows locked 1; fetchone: notified 3, advisory locks 3, rows locked 3'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: fetchval runs its query to the end."; exit 1; }
