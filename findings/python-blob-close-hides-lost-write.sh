#!/usr/bin/env bash
# One would guess: a blob that was written with `blobopen` and closed without an error is stored; what cannot be stored raises.
# What happens: outside a transaction (and `blobopen` begins none, at whatever isolation level) SQLite commits when the blob is closed.
#   If that fails, because a reader holds the database or the disk is full, the bytes are undone, and Python's `close` drops SQLite's answer.
#   An UPDATE of the same bytes raises "database is locked".
# Version: the sqlite3 modules of Python 3.11.7, 3.12.1 and 3.13.0, SQLite 3.40.1. Seen with a reader in the middle of its rows:
#   UPDATE: database is locked; blob: no error, stored: False; blob between BEGIN and COMMIT: database is locked
# Who meets it: those who fill a large value piece by piece in a database that has readers and is not in WAL mode.
#   An own BEGIN before `blobopen` and a COMMIT after the close is the way round: COMMIT raises.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
seen=$(python3 - <<'PY'
import sqlite3

NEW = b"new bytes"
writer = sqlite3.connect("database", timeout=0.1, isolation_level=None)
writer.execute("CREATE TABLE value (id INTEGER PRIMARY KEY, body BLOB)")
writer.execute("INSERT INTO value VALUES (1, zeroblob(9)), (2, zeroblob(9))")
reader = sqlite3.connect("database")

def outcome(write):
    rows = reader.execute("SELECT id FROM value")
    rows.fetchone()  # of two
    try:
        write()
    except sqlite3.OperationalError as error:
        return str(error)
    finally:
        rows.close()
        writer.rollback()
    (stored,) = writer.execute("SELECT body FROM value WHERE id = 1").fetchone()
    return f"no error, stored: {stored == NEW}"

def by_update():
    writer.execute("UPDATE value SET body = ? WHERE id = 1", (NEW,))

def by_blob():
    with writer.blobopen("value", "body", 1) as blob:
        blob.write(NEW)

def in_a_transaction():
    writer.execute("BEGIN")
    by_blob()
    writer.execute("COMMIT")

print(f"UPDATE: {outcome(by_update)}; blob: {outcome(by_blob)}; blob between BEGIN and COMMIT: {outcome(in_a_transaction)}")
PY
)
echo "$seen"
expected='UPDATE: database is locked; blob: no error, stored: False; blob between BEGIN and COMMIT: database is locked'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: closing a blob that could not be stored raises, or it is stored."; exit 1; }
