#!/usr/bin/env bash
# One would guess: statement_timeout bounds INSERT and COMMIT as it does any other statement, until the client has its answer.
# What happens: the server stops that clock when the statement itself is done, and commits after that. What the commit then does takes as
#   long as it takes: the triggers and checks that are INITIALLY DEFERRED, and the wait for a synchronous standby. The same trigger brought
#   forward by SET CONSTRAINTS is cut off. transaction_timeout (from 17 on) ends a deferred trigger, but not the wait for the standby.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. statement_timeout is 0.2 s, on 18 transaction_timeout
#   0.5 s for the standby; the trigger takes 1 s, the standby is away.
#   Seen: SET CONSTRAINTS: QueryCanceledError; deferred: committed; standby away: waits for SyncRep after 3 s, then committed
# Who meets it: those who leave timeouts to the server. When the standby is lost, each write hangs until an operator comes, with BEGIN and COMMIT
#   or without. The client needs a timeout of its own, and must read one at commit as "perhaps done": the row is there, on one node.
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

TABLES = """
    CREATE TABLE entry (id int PRIMARY KEY);
    CREATE TABLE checked (id int PRIMARY KEY);
    CREATE FUNCTION check_slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON checked DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_slowly();
"""

def connect(**settings):
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres", server_settings=settings)

async def outcome(call):
    try:
        await call
    except asyncpg.PostgresError as error:
        return type(error).__name__
    return "committed"

async def set_standbys(admin, names):
    await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await admin.execute("SELECT pg_reload_conf()")
    while True:  # until new sessions have it
        probe = await connect()
        shown = await probe.fetchval("SHOW synchronous_standby_names")
        await probe.close()
        if shown == names:
            return

async def standby_away(admin, settings):
    await set_standbys(admin, "standby")
    writer = await connect(**settings)
    waiting = """SELECT wait_event FROM pg_stat_activity
        WHERE pid = $1 AND state = 'active' AND clock_timestamp() - query_start > '3 s'"""
    insert = asyncio.create_task(outcome(writer.execute("INSERT INTO entry VALUES (1)")))
    while not insert.done() and not (event := await admin.fetchval(waiting, writer.get_server_pid())):
        await asyncio.sleep(0.1)
    if insert.done():
        return insert.result()
    await set_standbys(admin, "")
    return f"waits for {event} after 3 s, then {await insert}"

async def main():
    admin = await connect()
    await admin.execute(TABLES)
    timeouts = {"statement_timeout": "200ms"}
    writer = await connect(**timeouts)
    at_once = await outcome(writer.execute("BEGIN; INSERT INTO checked VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; COMMIT"))
    await writer.execute("ROLLBACK")
    deferred = await outcome(writer.execute("INSERT INTO checked VALUES (1)"))
    if writer.get_server_version().major >= 17:
        timeouts["transaction_timeout"] = "500ms"
    print(f"SET CONSTRAINTS: {at_once}; deferred: {deferred}; standby away: {await standby_away(admin, timeouts)}")

asyncio.run(main())
PY
)
echo "$seen"
expected='SET CONSTRAINTS: QueryCanceledError; deferred: committed; standby away: waits for SyncRep after 3 s, then committed'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: statement_timeout bounds the commit too."; exit 1; }
