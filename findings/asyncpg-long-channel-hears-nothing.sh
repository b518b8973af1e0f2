#!/usr/bin/env bash
# One would guess: a channel with a long name either works, or `add_listener` raises.
# What happens: PostgreSQL cuts the name to 63 bytes in LISTEN and in NOTIFY alike, with no more than a notice, so the notification does
#   arrive, under the short name. asyncpg looks for callbacks of that name, finds none and drops it. Nobody is told.
#   `SELECT pg_notify(...)` of the same name is an error ("channel name too long").
# Version: asyncpg 0.32.0 from PyPI; PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: 63 bytes: heard; 64 bytes: listening, sent, not heard; pg_notify: InvalidParameterValueError
# Who meets it: those who name channels after a SHA-256 in hex (64 characters), or after a prefix and a UUID or two. What works on short
#   test names is silent with real ones.
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

async def tried(listener, sender, name):
    heard, last = [], asyncio.Event()
    await listener.add_listener(name, lambda *arguments: heard.append(arguments))
    await listener.add_listener("last", lambda *_: last.set())
    await sender.execute(f'NOTIFY "{name}"')
    await sender.execute("NOTIFY last")  # arrives after it
    await last.wait()
    listening = await listener.fetchval("SELECT name FROM pg_listening_channels() AS name WHERE starts_with($1, name)", name)
    await listener.reset()
    return "heard" if heard else f"{'listening' if listening else 'not listening'}, sent, not heard"

async def main():
    listener, sender = [await asyncpg.connect(host=sys.argv[1], user="user", database="postgres") for _ in range(2)]
    for length in (63, 64):
        print(f"{length} bytes: {await tried(listener, sender, 'x' * length)}", end="; ")
    try:
        await sender.execute("SELECT pg_notify($1, '')", "x" * 64)
        print("pg_notify: sent")
    except asyncpg.InvalidParameterValueError as error:
        print(f"pg_notify: {type(error).__name__}")

asyncio.run(main())
PY
)
echo "$seen"
expected='63 bytes: heard; 64 bytes: listening, sent, not heard; pg_notify: InvalidParameterValueError'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a long channel is heard, or refused."; exit 1; }
