#!/usr/bin/env bash
# One would guess: with several hosts, each is given the connect timeout and then the next one is tried; so does libpq.
# What happens: asyncpg's timeout is for the whole list, so a first host that takes connections and never answers (frozen, or behind
#   a firewall that drops) uses it up. connect() never gets to the healthy second host, however often it is called.
# Version: asyncpg 0.32.0 from PyPI; psql and PostgreSQL 15 from Debian (postgresql-15, 15.18).
#   Seen: psql reaches the second host; asyncpg: TimeoutError, with the order turned round it connects
# Who meets it: those who list a primary and its standby in the DSN for failover; it works at a refused port, not at a silent host.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncpg==0.32.0 2>/dev/null
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h 127.0.0.1 -p $port -c fsync=off" -l "$folder/data/log" -w start >/dev/null
seen=$("$folder/venv/bin/python" - "$programs/psql" "$port" <<'PY'
import asyncio, socket, subprocess, sys, asyncpg

async def tried(*ports):
    try:
        connection = await asyncpg.connect(host=["127.0.0.1"] * 2, port=list(ports), user="user", database="postgres", timeout=3)
    except TimeoutError as error:
        return type(error).__name__
    await connection.close()
    return "it connects"

psql, port = sys.argv[1], int(sys.argv[2])
with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel takes connections; nobody answers
    silent = listener.getsockname()[1]
    target = f"host=127.0.0.1,127.0.0.1 port={silent},{port} user=user dbname=postgres connect_timeout=3"
    answer = subprocess.run([psql, target, "-XAtc", "SHOW port"], capture_output=True, text=True)
    by_psql = "reaches the second host" if answer.stdout.strip() == str(port) else answer.stderr.strip()
    first, turned = asyncio.run(tried(silent, port)), asyncio.run(tried(port, silent))
print(f"psql {by_psql}; asyncpg: {first}, with the order turned round {turned}")
PY
)
echo "$seen"
expected='psql reaches the second host; asyncpg: TimeoutError, with the order turned round it connects'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: asyncpg gets past a silent first host, or psql no longer does."; exit 1; }
