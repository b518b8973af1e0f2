#!/usr/bin/env bash
# One would guess: in autocommit mode (`isolation_level=None`) an INSERT is committed when `execute` has returned, with RETURNING too.
# What happens: it is committed when the last row that it returns has been read, or its cursor is closed. Until then no other connection sees
#   it or can write, a process that ends has stored nothing, and `in_transaction` says False. In the default mode `commit()` raises
#   "cannot commit transaction - SQL statements in progress".
# Version: the sqlite3 modules of Python 3.11.7, 3.12.1 and 3.13.0, SQLite 3.40.1. Two rows INSERTed with RETURNING, then the process ends:
#   Seen: execute: in_transaction False, another one writes: locked, kept 0; fetchone: in_transaction False, another one writes: locked, kept 0;
#   fetchall: in_transaction False, another one writes: yes, kept 2
# Who meets it: those who take one row of several, or none, of a statement with RETURNING, and answer "stored". With one row, `fetchone` is enough.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >insert.py <<'PY'
import os, sqlite3, sys

db = sqlite3.connect("database", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL").fetchall()
db.execute("DROP TABLE IF EXISTS job")
db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, what TEXT)")
rows = db.execute("INSERT INTO job (what) VALUES ('one'), ('two') RETURNING id")
if sys.argv[1] != "execute":
    getattr(rows, sys.argv[1])()
other = sqlite3.connect("database", isolation_level=None, timeout=0.1)
try:
    other.execute("BEGIN IMMEDIATE")
    writes = "yes"
    other.execute("ROLLBACK")
except sqlite3.OperationalError as error:
    writes = "locked" if "locked" in str(error) else str(error)
print(f"in_transaction {db.in_transaction}, another one writes: {writes}", flush=True)
os._exit(0)  # as when it is killed
PY
seen=
for how in execute fetchone fetchall; do
    said=$(python3 insert.py "$how")
    kept=$(python3 -c 'import sqlite3; print(sqlite3.connect("database").execute("SELECT count(*) FROM job").fetchone()[0])')
    seen+="$how: $said, kept $kept; "
done
seen=${seen%; }
echo "$seen"
expected='execute: in_transaction False, another one writes: locked, kept 0; fetchone: in_transaction False, another one writes: locked, kept 0; '
expected+='fetchall: in_transaction False, another one writes: yes, kept 2'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: it is committed before it is read."; exit 1; }
