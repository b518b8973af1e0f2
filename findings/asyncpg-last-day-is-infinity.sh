#!/usr/bin/env bash
# One would guess: the last day that Python has, date.max, is stored as what it is, 9999-12-31, and comes back as it was stored.
# What happens: asyncpg takes date.max and datetime.max for infinity, and date.min and datetime.min for minus infinity, both ways. The
#   column holds 'infinity'. Read back it is date.max again, so the application sees nothing; SQL does: equal to '9999-12-31' is false,
#   to_char gives NULL, a difference of days is an error, JSON says "infinity". psycopg stores the day; it cannot read infinity (DataError).
#   The microsecond before datetime.max is stored as it is.
# Version: asyncpg 0.32.0 and psycopg 3.3.9 from PyPI; PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: asyncpg: stored infinity, read 9999-12-31, equal False, to_char None, days DatetimeFieldOverflowError; psycopg: stored 9999-12-31, reads asyncpg's: DataError
# Who meets it: those who write date.max for "valid for ever" while another program, or the column's default, writes '9999-12-31'. The column
#   then holds two kinds of for ever; a query finds one of them, and asyncpg reads both as the same. Agree on NULL, or on 'infinity'.
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
import asyncio, datetime, sys, asyncpg, psycopg

FOR_EVER = datetime.date.max

async def outcome(connection, query):
    try:
        return await connection.fetchval(query)
    except asyncpg.PostgresError as error:
        return type(error).__name__

async def with_asyncpg():
    connection = await asyncpg.connect(host=sys.argv[1], user="user", database="postgres")
    await connection.execute("CREATE TABLE contract (writer text, until date)")
    await connection.execute("INSERT INTO contract VALUES ('asyncpg', $1)", FOR_EVER)
    queries = {
        "stored": "SELECT until::text FROM contract",
        "read": "SELECT until FROM contract",
        "equal": "SELECT until = '9999-12-31' FROM contract",
        "to_char": "SELECT to_char(until, 'YYYY') FROM contract",
        "days": "SELECT until - current_date FROM contract",
    }
    return ", ".join([f"{name} {await outcome(connection, query)}" for name, query in queries.items()])

def with_psycopg():
    with psycopg.connect(host=sys.argv[1], user="user", dbname="postgres") as connection:
        connection.execute("INSERT INTO contract VALUES ('psycopg', %s)", [FOR_EVER])
        stored = connection.execute("SELECT until::text FROM contract WHERE writer = 'psycopg'").fetchone()[0]
        try:
            read = connection.execute("SELECT until FROM contract WHERE writer = 'asyncpg'").fetchone()[0]
        except psycopg.DataError as error:
            read = type(error).__name__
    return f"stored {stored}, reads asyncpg's: {read}"

print(f"asyncpg: {asyncio.run(with_asyncpg())}; psycopg: {with_psycopg()}")
PY
)
echo "$seen"
expected='asyncpg: stored infinity, read 9999-12-31, equal False, to_char None, days DatetimeFieldOverflowError; psycopg: stored 9999-12-31, reads asyncpg'\''s: DataError'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: asyncpg stores the last day as a day, or psycopg reads infinity."; exit 1; }
