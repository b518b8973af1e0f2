#!/usr/bin/env bash
# One would guess: `id = ANY($1)` is the way to have one prepared statement, and so one plan, for any number of ids: like `id = $1`, it is
#   planned for its first five calls, and then the plan is kept.
# What happens: PostgreSQL keeps a plan only if it looks no dearer than those made for the call, and without knowing the array it reckons
#   with ten elements. So a call with one to five or so looks cheaper each time, and is planned anew each time, for ever, while one with ten
#   has its plan kept. The same with unnest($1), and with LIMIT $1, for which it reckons with a tenth of the rows. Planning is most of the
#   work then: in a join of six tables, 2.3 ms in place of 0.3.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6; asyncpg 0.32.0 from PyPI. Times planned in 100 calls, and the time of one of them:
#   Seen: id = $1: 5; ANY, 1 id: 100; ANY, 5 ids: 100; ANY, 10 ids: 5; JOIN unnest, 1 id: 100; JOIN unnest, 10 ids: 5;
#   LIMIT 10: 5; LIMIT $1: 100; six tables, ANY with 1 id, beside id = $1: more than twice as long; with plan_cache_mode = force_generic_plan: not
# Who meets it: those who load by lists of ids, of which most have one or two (data loaders, batched APIs, mappers), and whose pages have a
#   LIMIT of the caller; load tests with long lists do not show it. Ask by `id = $1` where there is one, write the LIMIT out, or set
#   plan_cache_mode for the connection, if the plan does not hang on the values.
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
import asyncio, statistics, sys, time, asyncpg

SIX = "SELECT t5.id FROM t0 " + " ".join(f"JOIN t{n} ON t{n}.id = t{n - 1}.next" for n in range(1, 6))

async def calls(connection, query, argument):
    """How often the statement was planned in 100 calls, and the median of their times in seconds."""
    statement, times = await connection.prepare(query), []
    for _ in range(100):
        begin = time.perf_counter()
        await statement.fetch(argument)
        times.append(time.perf_counter() - begin)
    planned = "SELECT custom_plans FROM pg_prepared_statements WHERE statement = $1"
    return await connection.fetchval(planned, query), statistics.median(times)

async def main():
    connection = await asyncpg.connect(host=sys.argv[1], user="user", database="postgres")
    for n in range(6):
        await connection.execute(f"CREATE TABLE t{n} (id bigint PRIMARY KEY, next bigint)")
        await connection.execute(f"INSERT INTO t{n} SELECT n, n FROM generate_series(1, 10000) n")
        await connection.execute(f"ANALYZE t{n}")
    any_of, unnest = "SELECT next FROM t0 WHERE id = ANY($1)", "SELECT next FROM t0 JOIN unnest($1::bigint[]) asked (id) USING (id)"
    planned = {
        "id = $1": ("SELECT next FROM t0 WHERE id = $1", 7),
        "ANY, 1 id": (any_of, [7]),
        "ANY, 5 ids": (any_of, list(range(5))),
        "ANY, 10 ids": (any_of, list(range(10))),
        "JOIN unnest, 1 id": (unnest, [7]),
        "JOIN unnest, 10 ids": (unnest, list(range(10))),
        "LIMIT 10": ("SELECT next FROM t0 WHERE next <> $1 ORDER BY id LIMIT 10", 7),
        "LIMIT $1": ("SELECT next FROM t0 ORDER BY id LIMIT $1", 10),
    }
    for name, (query, argument) in planned.items():
        print(f"{name}: {(await calls(connection, query, argument))[0]}", end="; ")
    _, one = await calls(connection, f"{SIX} WHERE t0.id = $1", 7)
    _, listed = await calls(connection, f"{SIX} WHERE t0.id = ANY($1)", [7])
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    _, kept = await calls(connection, f"{SIX} WHERE t0.id = ANY($1)", [7])
    print(f"six tables, ANY with 1 id, beside id = $1: {'more than twice as long' if listed > 2 * one else 'alike'}; ", end="")
    print(f"with plan_cache_mode = force_generic_plan: {'more than twice as long' if kept > 2 * one else 'not'}")

asyncio.run(main())
PY
)
echo "$seen"
expected='id = $1: 5; ANY, 1 id: 100; ANY, 5 ids: 100; ANY, 10 ids: 5; JOIN unnest, 1 id: 100; JOIN unnest, 10 ids: 5; LIMIT 10: 5; LIMIT $1: 100; '
expected+='six tables, ANY with 1 id, beside id = $1: more than twice as long; with plan_cache_mode = force_generic_plan: not'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a plan is kept for short arrays too, or for none."; exit 1; }
