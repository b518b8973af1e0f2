#!/usr/bin/env bash
# One would guess: a connection that hears a notification every 0.1 s is not idle, so `idle_session_timeout` leaves it alone.
# What happens: idle means that the client has sent no query, however much it is sent. The listener is ended in the middle of its
#   notifications. asyncpg raises nowhere, as nobody waits for an answer: the callbacks are just not called any more.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. idle_session_timeout = 2 s, 40 notifications in 4 s:
#   Seen: listens only: some heard, closed True, errors 0; asks SELECT 1 now and then: all heard, closed False, errors 0
# Who meets it: applications with LISTEN whose operator sets the timeout, say to an hour, to be rid of forgotten sessions. A query now and then
#   keeps the session, and shows when it is gone; `add_termination_listener` tells too. Or set it to 0 for the listener's role.
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

def connect(**settings):
    return asyncpg.connect(host=sys.argv[1], user="user", database="postgres", server_settings=settings)

async def listened(asks):
    listener, sender = await connect(idle_session_timeout="2s"), await connect()
    heard, errors = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    await listener.add_listener("news", lambda *arguments: heard.append(arguments))
    for n in range(40):
        await sender.execute("NOTIFY news")
        await asyncio.sleep(0.1)
        if asks and n % 3 == 0:
            await listener.execute("SELECT 1")
    how_many = "all" if len(heard) == 40 else "some" if heard else "none"
    return f"{how_many} heard, closed {listener.is_closed()}, errors {len(errors)}"

async def main():
    print(f"listens only: {await listened(False)}; asks SELECT 1 now and then: {await listened(True)}")

asyncio.run(main())
PY
)
echo "$seen"
expected='listens only: some heard, closed True, errors 0; asks SELECT 1 now and then: all heard, closed False, errors 0'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a session that hears is not idle, or the client is told."; exit 1; }
