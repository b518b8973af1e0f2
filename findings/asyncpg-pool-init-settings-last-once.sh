#!/usr/bin/env bash
# One would guess: what `init` sets up on a new connection of a pool holds for that connection's life; codecs and prepared types do.
# What happens: whoever gives the connection back has RESET ALL sent after it, which takes out each SET that `init` ran, and `init` is not
#   called again. So the first user of each connection has the setting, and all later ones have not.
# Version: asyncpg 0.32.0 from PyPI; PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6. Three users one after the other:
#   Seen: init: 5s, 0, 0; setup: 5s, 5s, 5s; server_settings: 5s, 5s, 5s
# Who meets it: those who give a pool a statement_timeout, a search_path or a time zone by `init` and try it with one query.
#   `server_settings` stays, since RESET ALL goes back to what the connection began with; `setup` costs a round trip for each acquire.
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

async def five_seconds(connection):
    await connection.execute("SET statement_timeout = '5s'")

async def main():
    seen = []
    for name, value in {"init": five_seconds, "setup": five_seconds, "server_settings": {"statement_timeout": "5s"}}.items():
        async with asyncpg.create_pool(host=sys.argv[1], user="user", database="postgres", min_size=1, max_size=1, **{name: value}) as pool:
            seen.append(f"{name}: " + ", ".join([await pool.fetchval("SHOW statement_timeout") for _ in range(3)]))
    print("; ".join(seen))

asyncio.run(main())
PY
)
echo "$seen"
expected='init: 5s, 0, 0; setup: 5s, 5s, 5s; server_settings: 5s, 5s, 5s'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what init sets stays, or is not there from the beginning."; exit 1; }
