#!/usr/bin/env bash
# One would guess: `a[3] := 'x'` in an array without elements gives {NULL,NULL,x}, since gaps are filled with NULL.
# What happens: only gaps between elements are. A NULL or empty array has none, so it now begins at 3 and has one element. a[3] finds it, so
#   the function that made it sees nothing wrong; but unnest, a comparison and a driver count from the first element there is, and
#   unnest(ids, a) pairs 'x' with the first id. Once a[1] is set too, even to NULL, all is in its place.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. ids = {11,12,13}, 'x' belongs to 13:
#   Seen: from NULL: [3:3]={x}, list of 1, x for 11; from {}: [3:3]={x}, list of 1, x for 11; a[1] set after: {NULL,NULL,x}, list of 3, x for 13; array_fill: {NULL,NULL,x}, list of 3, x for 13
# Who meets it: PL/pgSQL (and UPDATE ... SET a[3] = ...) that fills an array by index, beside one of keys, and leaves some out: wrong pairs and
#   no error, on those inputs where the first is left out. Begin with array_fill(NULL::text, ARRAY[cardinality(ids)]).
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

FILLED = """
    CREATE FUNCTION filled(a text[], first_too boolean) RETURNS text[] LANGUAGE plpgsql AS $$
    BEGIN
        a[3] := 'x';
        IF first_too THEN
            a[1] := NULL;
        END IF;
        RETURN a;
    END $$"""
PAIRS = "SELECT id FROM unnest(ARRAY[11, 12, 13], filled($1, $2)) AS pair (id, value) WHERE value = 'x'"

async def seen(connection, *arguments):
    text = await connection.fetchval("SELECT filled($1, $2)::text", *arguments)
    values = await connection.fetchval("SELECT filled($1, $2)", *arguments)
    return f"{text}, list of {len(values)}, x for {await connection.fetchval(PAIRS, *arguments)}"

async def main():
    connection = await asyncpg.connect(host=sys.argv[1], user="user", database="postgres")
    await connection.execute(FILLED)
    three = await connection.fetchval("SELECT array_fill(NULL::text, ARRAY[3])")
    cases = {"from NULL": (None, False), "from {}": ([], False), "a[1] set after": (None, True), "array_fill": (three, False)}
    print("; ".join([f"{name}: {await seen(connection, *arguments)}" for name, arguments in cases.items()]))

asyncio.run(main())
PY
)
echo "$seen"
expected='from NULL: [3:3]={x}, list of 1, x for 11; from {}: [3:3]={x}, list of 1, x for 11; a[1] set after: {NULL,NULL,x}, list of 3, x for 13; array_fill: {NULL,NULL,x}, list of 3, x for 13'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: an array filled by index begins at 1."; exit 1; }
