#!/usr/bin/env bash
# One would guess: whoever waits for an advisory lock at the start of a transaction sees, once it has it, what the one before committed.
# What happens: from REPEATABLE READ on, the transaction sees the database as it was when its first query began, and taking the lock by
#   `SELECT pg_advisory_xact_lock(...)` is that query. So it waits, gets the lock, and reads what was true before the wait.
#   LOCK TABLE is no query: after that wait, it reads what is there.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. Two take max + 1, one after the other.
#   Seen: read_committed: [1, 2]; repeatable_read: [1, 1]; serializable: SerializationError; repeatable_read with LOCK TABLE: [1, 2]
# Who meets it: those who give out numbers, or look before they write, under a lock of their own, and then raise the isolation level "to
#   be safe"; it shows only when two meet. A session lock (`pg_advisory_lock`) taken before BEGIN is a way round too.
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

def connect():
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres")

async def add(connection):
    number = await connection.fetchval("SELECT coalesce(max(number), 0) + 1 FROM entry")
    await connection.execute("INSERT INTO entry VALUES ($1)", number)

async def second(isolation, lock):
    connection = await connect()
    async with connection.transaction(isolation=isolation):
        await connection.execute(lock)
        await add(connection)

async def numbers(isolation, lock="SELECT pg_advisory_xact_lock(1)"):
    await watcher.execute("TRUNCATE entry")
    connection = await connect()
    async with connection.transaction(isolation=isolation):
        await connection.execute(lock)
        await add(connection)
        other = asyncio.create_task(second(isolation, lock))
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    try:
        await other
    except asyncpg.SerializationError as error:
        return type(error).__name__
    return [row["number"] for row in await watcher.fetch("SELECT number FROM entry")]

async def main():
    global watcher
    watcher = await connect()
    await watcher.execute("CREATE TABLE entry (number int)")
    for isolation in ("read_committed", "repeatable_read", "serializable"):
        print(f"{isolation}: {await numbers(isolation)}", end="; ")
    print(f"repeatable_read with LOCK TABLE: {await numbers('repeatable_read', 'LOCK TABLE entry')}")

asyncio.run(main())
PY
)
echo "$seen"
expected='read_committed: [1, 2]; repeatable_read: [1, 1]; serializable: SerializationError; repeatable_read with LOCK TABLE: [1, 2]'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what is read after the wait is what is there."; exit 1; }
