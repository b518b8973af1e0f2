#!/usr/bin/env bash
# One would guess: where each page has room for it, zeros of the same length over a text, and then a vacuum, take it out of the file.
# What happens: that holds for a row that never moved. When rows above it in its page go, VACUUM moves it up, and its old place stays as it
#   was, at a distance. The zeros come to lie right beside the new place, not over the old one. So the text is in the file, in a page with
#   nothing but zeros in its rows, until something is inserted there. VACUUM FULL, or zeros for all that is free in the page, take it out.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6. Seen: rows with text 0; in the file when it never moved 0, when it moved 1
# Who meets it: those who promise that messages are gone once read, tested it on a fresh table, and run on one where messages come and go.
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
ask() { "$programs/psql" -h "$folder" -U user postgres -XAtqc "$1"; }
zeros="decode(repeat('00', 1000), 'hex')"
in_file() { # whether the text is in the file once it was read; before it came, two others had come and gone if $1 is "moved"
    ask "CREATE TABLE $1 (n integer PRIMARY KEY, body bytea NOT NULL) WITH (fillfactor = 50)"
    ask "ALTER TABLE $1 ALTER body SET STORAGE PLAIN"
    if [ "$1" = moved ]; then
        ask "INSERT INTO $1 SELECT n, convert_to(rpad('', 1000, 'x'), 'UTF8') FROM generate_series(1, 2) AS n"
        ask "UPDATE $1 SET body = $zeros"
        ask "VACUUM $1"
        ask "DELETE FROM $1"
    fi
    ask "INSERT INTO $1 VALUES (3, convert_to(rpad('private text;', 1000, 'x'), 'UTF8'))"
    ask "VACUUM $1"
    ask "UPDATE $1 SET body = $zeros WHERE n = 3"
    ask "VACUUM $1"
    ask "CHECKPOINT"
    grep -acF 'private text;' "$folder/data/$(ask "SELECT pg_relation_filepath('$1')")" || true
}
never=$(in_file never_moved) moved=$(in_file moved)
rows=$(ask "SELECT count(*) FROM (TABLE never_moved UNION ALL TABLE moved) AS message WHERE encode(body, 'escape') LIKE 'private%'")
seen="rows with text $rows; in the file when it never moved $never, when it moved $moved"
echo "$seen"
expected=${EXPECTED:-"rows with text 0; in the file when it never moved 0, when it moved 1"}
[ "$seen" = "$expected" ] || { echo "expected: $expected"; exit 1; }
