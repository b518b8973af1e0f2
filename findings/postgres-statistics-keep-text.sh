#!/usr/bin/env bash
# One would guess: after DELETE, VACUUM FULL, TRUNCATE and a new ANALYZE nothing of the rows can be read from the database any more.
# What happens: ANALYZE (autovacuum runs it) copies up to about a hundred values of each column into pg_statistic, and no later ANALYZE
#   of the empty table takes them out. A plain SELECT from pg_stats shows them, and every standby and backup has them.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18). Seen: rows 0, deleted texts in pg_stats 50
# Who meets it: those who promise that messages, addresses or names are gone once deleted.
#   `ALTER TABLE ... ALTER COLUMN ... SET STATISTICS 0` before the first row keeps a column out.
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
seen=$("$programs/psql" -h "$folder" -U user postgres -XAtq <<'SQL'
CREATE TABLE message (body text);
INSERT INTO message SELECT 'private text ' || n FROM generate_series(1, 50) AS n;
ANALYZE message;
DELETE FROM message;
VACUUM FULL message;
TRUNCATE message;
VACUUM ANALYZE message;
SELECT 'rows ' || (SELECT count(*) FROM message) || ', deleted texts in pg_stats ' || count(*)
  FROM pg_stats, unnest(histogram_bounds::text::text[]) AS kept WHERE tablename = 'message' AND kept LIKE 'private text %';
SQL
)
echo "$seen"
[ "$seen" = "${EXPECTED-rows 0, deleted texts in pg_stats 50}" ] || { echo "Changed: the statistics keep fewer of the deleted texts."; exit 1; }
