#!/usr/bin/env bash
# One would guess: what pg_dump writes of a database that works can be restored, into an empty one of the same version, by the same role.
# What happens: pg_restore runs with an empty search_path. A function in a CHECK (or an index, or a generated column) that names another
#   function or a table without its schema found it while the application ran, and finds nothing now. COPY fails at the first row, and
#   the table stays empty; pg_restore goes on with the next one and ends with "errors ignored on restore: 1".
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: plain names: exit 1, rows of the table 0 of 2, of the next 2 of 2; with SET search_path at the function: exit 0, rows of the table 2 of 2, of the next 2 of 2
# Who meets it: those whose functions call each other, at the first restore that counts. `SET search_path = public` at CREATE FUNCTION, or
#   names with their schema, makes the dump whole; a trial restore shows it.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown nobody "$folder"
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
as_user "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
as_user "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h '' -c fsync=off" -l "$folder/data/log" -w start >/dev/null
export PGHOST=$folder PGUSER=user

restored() {  # NAME of the first database, and what the function has besides its body
    local outcome=0
    "$programs/createdb" "$1" && "$programs/createdb" "$1-restored"
    "$programs/psql" -XAtq -v ON_ERROR_STOP=1 "$1" <<SQL
CREATE FUNCTION plain(word text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(word)';
CREATE FUNCTION is_known(word text) RETURNS boolean LANGUAGE sql IMMUTABLE $2 AS 'SELECT plain(word) <> ''nobody''';
CREATE TABLE a_name (name text CHECK (is_known(name)));
CREATE TABLE b_next (name text);
INSERT INTO a_name VALUES ('alice'), ('bob');
INSERT INTO b_next VALUES ('alice'), ('bob');
SQL
    "$programs/pg_dump" -Fc -f "$1.dump" "$1"
    "$programs/pg_restore" -d "$1-restored" "$1.dump" 2>/dev/null || outcome=$?
    rows() { "$programs/psql" -XAtq -c "SELECT count(*) FROM $2" "$1-restored"; }
    echo "exit $outcome, rows of the table $(rows "$1" a_name) of 2, of the next $(rows "$1" b_next) of 2"
}
seen="plain names: $(restored plain ''); with SET search_path at the function: $(restored set 'SET search_path = public')"
echo "$seen"
expected='plain names: exit 1, rows of the table 0 of 2, of the next 2 of 2; with SET search_path at the function: exit 0, rows of the table 2 of 2, of the next 2 of 2'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what worked can be restored, or the path at the function does not help."; exit 1; }
