#!/usr/bin/env bash
# One would guess: a column that was set to zeros of the same length, and then vacuumed, is out of the table's file.
# What happens: each zeroed row is a new one. As the page of the old one is full, it goes to another page; and where VACUUM takes the
#   old rows out of a page, it moves those that stay together, and leaves the rest of the page as it was. DELETE and VACUUM are no better.
#   In a table with room for the new row in each page (fillfactor = 50), it takes the place of the old one: nothing is left.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18). Seen: rows with text 0; texts in the file 299, with fillfactor 50: 0
# Who meets it: those who promise that messages are gone once deleted, and test it with SQL, or with rows that are updated one by one.
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
in_file() { # how many texts are in the file of a table whose pages are filled to so many percent
    ask "CREATE TABLE message_$1 (n integer PRIMARY KEY, body bytea NOT NULL) WITH (fillfactor = $1)"
    ask "ALTER TABLE message_$1 ALTER body SET STORAGE PLAIN"
    ask "INSERT INTO message_$1 SELECT n, convert_to(rpad('private text ' || n || ';', 1000, 'x'), 'UTF8') FROM generate_series(1, 300) AS n"
    ask "UPDATE message_$1 SET body = decode(repeat('00', 1000), 'hex')"
    ask "VACUUM message_$1"
    ask "CHECKPOINT"
    grep -aoE 'private text [0-9]+;' "$folder/data/$(ask "SELECT pg_relation_filepath('message_$1')")" | sort -u | wc -l
}
full=$(in_file 100 || true) half=$(in_file 50 || true)
rows=$(ask "SELECT count(*) FROM (TABLE message_100 UNION ALL TABLE message_50) AS message WHERE encode(body, 'escape') LIKE 'private%'")
seen="rows with text $rows; texts in the file $full, with fillfactor 50: $half"
echo "$seen"
[ "$seen" = "${EXPECTED-rows with text 0; texts in the file 299, with fillfactor 50: 0}" ] || { echo "Changed: VACUUM leaves other texts in the file."; exit 1; }
