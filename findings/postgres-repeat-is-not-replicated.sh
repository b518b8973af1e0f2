#!/usr/bin/env bash
# One would guess: with synchronous replication a success means that the standby has the row, and a commit that timed out has none.
# What happens: a statement whose wait for the standby is cancelled (by a client's timeout) leaves its row committed and visible on the
#   primary alone. The usual repeat, INSERT ... ON CONFLICT DO NOTHING, writes nothing, so it waits for nothing and succeeds at
#   once, though no standby has ever had the row. If the primary dies now, what was acknowledged is lost.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), asyncpg 0.32.0 from PyPI.
#   Seen: insert: TimeoutError, row visible: True, repeat: INSERT 0 0, another insert: TimeoutError
# Who meets it: queues and inboxes that rest on "repeat until success" with an id as the key.
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
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h ''" -l "$folder/data/log" -w start >/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio, sys, asyncpg

def connect():
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres")

async def written(connection, statement):
    try:
        return await connection.execute(statement, timeout=3)
    except TimeoutError as error:
        return type(error).__name__

async def main():
    setup = await connect()
    await setup.execute("CREATE TABLE entry (id text PRIMARY KEY)")
    await setup.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")  # it is away
    await setup.execute("SELECT pg_reload_conf()")
    while True:  # until a new session has the setting
        watcher = await connect()
        if await watcher.fetchval("SHOW synchronous_standby_names") == "standby":
            break
        await watcher.close()
    insert = await written(await connect(), "INSERT INTO entry VALUES ('one')")
    visible = False
    for _ in range(1000):  # the server hears of the client's timeout a moment later
        if visible := await watcher.fetchval("SELECT count(*) FROM entry") == 1:
            break
    repeat = await written(watcher, "INSERT INTO entry VALUES ('one') ON CONFLICT DO NOTHING")
    other = await written(watcher, "INSERT INTO entry VALUES ('two') ON CONFLICT DO NOTHING")
    print(f"insert: {insert}, row visible: {visible}, repeat: {repeat}, another insert: {other}")

asyncio.run(main())
PY
)
echo "$seen"
expected='insert: TimeoutError, row visible: True, repeat: INSERT 0 0, another insert: TimeoutError'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a repeat waits for the standby, or the cancelled row is not there."; exit 1; }
