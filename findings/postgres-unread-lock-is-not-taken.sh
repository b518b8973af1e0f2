#!/usr/bin/env bash
# One would guess: WITH lock AS (SELECT ... FOR UPDATE) UPDATE ... locks those rows first and then updates. An INSERT, UPDATE or DELETE in WITH
#   is run whether it is read or not, and MATERIALIZED makes sure of it.
# What happens: a SELECT in WITH runs as far as it is read. If nothing reads it, it is left out of the plan, its FOR UPDATE and its
#   pg_advisory_xact_lock with it: the statement succeeds without any lock. EXISTS (SELECT FROM lock) reads, and so locks, one row.
#   What has to read all of it, as count(*) does, locks all. MATERIALIZED, which the script uses, changes none of this.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. Of three rows and three advisory locks:
#   Seen: FOR UPDATE: not read 0, EXISTS 1, count 3; advisory: not read 0, EXISTS 1, count 3; UPDATE in WITH: not read 3
# Who meets it: those who put lock and write into one statement, to save a round trip or to lock in order against deadlocks. One user alone sees
#   no difference. Read the lock with count(*) in the WHERE of the write, or send it as a statement of its own.
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

READ = {
    "not read": "true",
    "EXISTS": "EXISTS (SELECT FROM lock)",
    "count": "(SELECT count(*) FROM lock) > 0",
}
WRITE = "WITH lock AS MATERIALIZED ({}) UPDATE total SET amount = amount + 1 WHERE {}"
ROWS = "SELECT n FROM entry ORDER BY n FOR UPDATE"
ADVISORY = "SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 3) AS n"
UPDATE = "UPDATE entry SET n = n RETURNING n"

def connect():
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres")

async def locked(writer, other, lock, read):
    """How many rows and advisory locks the statement holds until its transaction ends."""
    async with writer.transaction():
        assert await writer.execute(WRITE.format(lock, READ[read])) == "UPDATE 1"
        free = len(await other.fetch("SELECT FROM entry FOR UPDATE SKIP LOCKED"))
        return 3 - free + await other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")

async def main():
    writer, other = await connect(), await connect()
    await writer.execute("CREATE TABLE entry AS SELECT n FROM generate_series(1, 3) AS n; CREATE TABLE total AS SELECT 0 AS amount")
    seen = []
    for name, lock, reads in (("FOR UPDATE", ROWS, READ), ("advisory", ADVISORY, READ), ("UPDATE in WITH", UPDATE, ["not read"])):
        seen.append(f"{name}: " + ", ".join([f"{read} {await locked(writer, other, lock, read)}" for read in reads]))
    print("; ".join(seen))

asyncio.run(main())
PY
)
echo "$seen"
expected='FOR UPDATE: not read 0, EXISTS 1, count 3; advisory: not read 0, EXISTS 1, count 3; UPDATE in WITH: not read 3'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a SELECT in WITH that nobody reads takes its locks."; exit 1; }
