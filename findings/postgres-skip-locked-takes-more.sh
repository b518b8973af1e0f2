#!/usr/bin/env bash
# One would guess: UPDATE ... WHERE id IN (SELECT id ... LIMIT 1 FOR UPDATE SKIP LOCKED) takes one job, since the subquery yields one.
# What happens: if the planner expects very few rows, it runs the subquery anew for each row of the table (nested loop), and each run skips
#   what the statement has taken by then: "LIMIT 1" takes all that wait. A queue is such a table: ANALYZE finds it all but empty, then
#   jobs come in. With other statistics the same statement takes one.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: IN, analysed with 10 rows: taken 1; IN, analysed with 1 row, 9 came later: taken 10; = (SELECT ...): taken 1;
#   WITH ... AS MATERIALIZED: taken 1
# Who meets it: queues in PostgreSQL whose worker takes the first row of RETURNING: the others are marked as taken, and nobody does them.
#   `= (SELECT ...)` for one, or a MATERIALIZED common table expression for several, is run once.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h '' -c fsync=off -c autovacuum=off" -l "$folder/data/log" -w start >/dev/null

first="SELECT id FROM job WHERE NOT taken ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
taken() {  # how many ROWS were there at ANALYZE, then the statement; prints how many of ten it takes
    "$programs/psql" -h "$folder" -U user postgres -XAtq -v ON_ERROR_STOP=1 <<SQL
SET client_min_messages = warning;
DROP TABLE IF EXISTS job;
CREATE TABLE job (id int PRIMARY KEY, taken boolean NOT NULL DEFAULT false);
INSERT INTO job SELECT generate_series(1, $1);
VACUUM ANALYZE job;
INSERT INTO job SELECT generate_series($1 + 1, 10);
$2;
SELECT 'taken ' || count(*) FROM job WHERE taken;
SQL
}
seen="IN, analysed with 10 rows: $(taken 10 "UPDATE job SET taken = true WHERE id IN ($first)")"
seen+="; IN, analysed with 1 row, 9 came later: $(taken 1 "UPDATE job SET taken = true WHERE id IN ($first)")"
seen+="; = (SELECT ...): $(taken 1 "UPDATE job SET taken = true WHERE id = ($first)")"
seen+="; WITH ... AS MATERIALIZED: $(taken 1 "WITH free AS MATERIALIZED ($first) UPDATE job SET taken = true WHERE id IN (SELECT id FROM free)")"
echo "$seen"
expected='IN, analysed with 10 rows: taken 1; IN, analysed with 1 row, 9 came later: taken 10; = (SELECT ...): taken 1; WITH ... AS MATERIALIZED: taken 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: LIMIT 1 takes one row at any plan."; exit 1; }
