#!/usr/bin/env bash
# One would guess: whom a policy lets insert a row, it lets insert it ON CONFLICT (id) DO NOTHING too; nothing is read or changed by that.
# What happens: naming the conflict's column counts as reading it, and whoever reads must be allowed to see the new row. So a role that may
#   put rows in and not see them (a drop box, an audit log) is refused: "new row violates row-level security policy". Without
#   the column it is let in. RETURNING a column is refused in the same way, RETURNING a constant is not.
# Version: PostgreSQL 15 from Debian (postgresql-15, 15.18), and 18.6.
#   Seen: INSERT: stored; ON CONFLICT DO NOTHING: stored; ON CONFLICT (id) DO NOTHING: 42501; RETURNING id: 42501; RETURNING 'done': stored
# Who meets it: those who make an insert repeatable, or whose mapper adds RETURNING: they look for a fault in the policy for INSERT, which has none.
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
run() { "$programs/psql" -h "$folder" -U user postgres -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate "$@"; }
run <<'SQL'
CREATE ROLE sender;
CREATE TABLE box (id int PRIMARY KEY, owner text);
ALTER TABLE box ENABLE ROW LEVEL SECURITY;
CREATE POLICY anybody_puts ON box FOR INSERT WITH CHECK (true);
CREATE POLICY owners_look ON box FOR SELECT USING (owner = current_user);
GRANT INSERT, SELECT ON box TO sender;
SQL
put() {  # an INSERT of a new row by the sender, with what follows VALUES
    local said
    said=$(run -c "SET ROLE sender" -c "INSERT INTO box VALUES ($(run -c 'SELECT count(*) FROM box'), 'bob') $1" 2>&1 >/dev/null) && said=stored
    echo "${said/#ERROR: /}" | tr -d ' '
}
seen="INSERT: $(put '')"
for more in "ON CONFLICT DO NOTHING" "ON CONFLICT (id) DO NOTHING" "RETURNING id" "RETURNING 'done'"; do
    seen+="; $more: $(put "$more")"
done
echo "$seen"
expected="INSERT: stored; ON CONFLICT DO NOTHING: stored; ON CONFLICT (id) DO NOTHING: 42501; RETURNING id: 42501; RETURNING 'done': stored"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a conflict target is no reading, or a constant is."; exit 1; }
