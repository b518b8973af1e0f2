#!/usr/bin/env bash
# One would guess: PRAGMA incremental_vacuum(50) gives 50 free pages back, from Python as in SQLite's own shell.
# What happens: `execute` alone gives back one page, whatever the number: each page is a step of the statement, and nobody takes the others.
#   With `fetchall` after it, Python 3.10, 3.12 and 3.13 give back all; 3.11 still gives one. `executescript` gives all, but commits first.
# Version: the sqlite3 modules of Python 3.10.13, 3.11.7, 3.12.1 and 3.13.0, SQLite 3.40.1.
#   Seen with 3.11.7: execute: 1, fetchall: 1, executescript: 50, 50 times: 50
# Who meets it: those who keep a file small with auto_vacuum=INCREMENTAL; it grows on, and no error says so.
#   The way round is to run `PRAGMA incremental_vacuum(1)` as often as there are pages to give back.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
seen=$(python3 - <<'PY'
import sqlite3

def given_back(how):
    """How many of 100 free pages."""
    with sqlite3.connect(":memory:", isolation_level=None) as db:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("CREATE TABLE large (body BLOB)")
        db.execute("INSERT INTO large VALUES (zeroblob(100 * 4096))")
        db.execute("DROP TABLE large")
        (before,) = db.execute("PRAGMA freelist_count").fetchone()
        how(db)
        return before - db.execute("PRAGMA freelist_count").fetchone()[0]

print(", ".join(f"{name}: {given_back(how)}" for name, how in {
    "execute": lambda db: db.execute("PRAGMA incremental_vacuum(50)"),
    "fetchall": lambda db: db.execute("PRAGMA incremental_vacuum(50)").fetchall(),
    "executescript": lambda db: db.executescript("PRAGMA incremental_vacuum(50)"),
    "50 times": lambda db: [db.execute("PRAGMA incremental_vacuum(1)").fetchall() for _ in range(50)],
}.items()))
PY
)
echo "$seen"
all=$(python3 -c "import sys; print(1 if sys.version_info[:2] == (3, 11) else 50)")
expected="execute: 1, fetchall: $all, executescript: 50, 50 times: 50"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the pragma gives back what it is asked for."; exit 1; }
