#!/usr/bin/env bash
# One would guess: ADD COLUMN IF NOT EXISTS and CREATE INDEX IF NOT EXISTS are free when column and index are there: they look, say
#   "already exists, skipping", and have touched nothing. CREATE TABLE IF NOT EXISTS is so.
# What happens: both lock the table as for the real work, and look then. ADD COLUMN waits for everybody who has read the table in an open
#   transaction, CREATE INDEX for everybody who has written; and whoever comes later waits behind them, a plain SELECT too.
#   DROP COLUMN IF EXISTS does the same. CREATE INDEX CONCURRENTLY IF NOT EXISTS takes a lock that stands in the way of neither.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. Column and index are there.
#   Seen: beside a reader: ADD COLUMN waits, DROP COLUMN waits, CREATE INDEX done, CONCURRENTLY done, CREATE TABLE done;
#   beside a writer: ADD COLUMN waits, DROP COLUMN waits, CREATE INDEX waits, CONCURRENTLY done, CREATE TABLE done; SELECT behind ADD COLUMN: waits
# Who meets it: applications that run such a script at each start: one report that runs for an hour, one restarted process, and the table is
#   closed to all. Look in the catalogue first (`to_regclass`, `pg_attribute`) or keep a schema version; set lock_timeout.
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

STARTS = {
    "ADD COLUMN": "ALTER TABLE entry ADD COLUMN IF NOT EXISTS note text",
    "DROP COLUMN": "ALTER TABLE entry DROP COLUMN IF EXISTS gone",
    "CREATE INDEX": "CREATE INDEX IF NOT EXISTS entry_note ON entry (note)",
    "CONCURRENTLY": "CREATE INDEX CONCURRENTLY IF NOT EXISTS entry_note ON entry (note)",
    "CREATE TABLE": "CREATE TABLE IF NOT EXISTS entry (id int)",
}

def connect(lock_timeout="0"):
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres", server_settings={"lock_timeout": lock_timeout})

async def tried(starter, statement):
    try:
        await starter.execute(statement)
    except asyncpg.LockNotAvailableError:  # after lock_timeout
        return "waits"
    return "done"

async def beside(user, starter, statement):
    async with user.transaction():
        await user.execute(statement)
        return ", ".join([f"{name} {await tried(starter, start)}" for name, start in STARTS.items()])

async def select_behind(user, starter):
    watcher = await connect()
    async with user.transaction():
        await user.execute("SELECT FROM entry")
        waiting = asyncio.create_task((await connect()).execute(STARTS["ADD COLUMN"]))
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        seen = await tried(starter, "SELECT FROM entry")
    await waiting
    return seen

async def main():
    user, starter = await connect(), await connect("300ms")
    await user.execute("CREATE TABLE entry (id int, note text); CREATE INDEX entry_note ON entry (note)")
    print(f"beside a reader: {await beside(user, starter, 'SELECT FROM entry')};")
    print(f"beside a writer: {await beside(user, starter, 'INSERT INTO entry VALUES (1)')}; SELECT behind ADD COLUMN: {await select_behind(user, starter)}")

asyncio.run(main())
PY
)
echo "$seen"
expected='beside a reader: ADD COLUMN waits, DROP COLUMN waits, CREATE INDEX done, CONCURRENTLY done, CREATE TABLE done;
beside a writer: ADD COLUMN waits, DROP COLUMN waits, CREATE INDEX waits, CONCURRENTLY done, CREATE TABLE done; SELECT behind ADD COLUMN: waits'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what has nothing to do takes no lock."; exit 1; }
