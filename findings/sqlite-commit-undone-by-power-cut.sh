#!/usr/bin/env bash
# One would guess: in a new database, where `synchronous` is FULL, a transaction is on disk when COMMIT has returned.
# What happens: a new database has journal_mode=DELETE, where removing the journal is what commits, and FULL does not sync the folder after
#   that. If the power goes before the folder is on disk, the journal is back, and the next who opens the database undoes what was committed.
#   Nothing is corrupt, and nobody is told. EXTRA syncs the folder. TRUNCATE and WAL sync what commits, already with FULL.
# Version: SQLite 3.54.1 in apsw 3.54.1.0, from PyPI; strace 6.1. strace makes the removal succeed without being done, as a power cut does.
#   Seen: DELETE FULL 0 syncs after, 0 rows kept; DELETE EXTRA 1; TRUNCATE FULL 1; WAL FULL 1
# Who meets it: those who answer "stored" after COMMIT with the defaults, and whose sender then deletes its own copy.
set -euo pipefail
command -v strace >/dev/null || { echo "Install strace (Debian: strace)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check apsw==3.54.1.0 2>/dev/null
cat > "$folder/run.py" <<'PY'
import os, subprocess, sys, apsw

def connect(path, mode, level):
    db = apsw.Connection(path)
    for pragma in (f"journal_mode={mode}", f"synchronous={level}"):
        db.execute(f"PRAGMA {pragma}").fetchall()
    return db

def seen(mode, level):
    """Syncs between what commits and the end of COMMIT, and the rows that the next connection finds."""
    path = f"{mode}-{level}"
    connect(path, mode, level).execute("CREATE TABLE message (text)").connection.close()
    trace = ["strace", "-f", "-o", "trace", "-e", "trace=unlink,ftruncate,pwrite64,fsync,fdatasync,getppid"]
    subprocess.run([*trace, "-e", "inject=unlink:retval=0", sys.executable, __file__, path, mode, level], check=True)
    inside = open("trace").read().split("getppid(")[1].splitlines()
    commits = {"DELETE": "unlink", "TRUNCATE": "ftruncate", "WAL": "pwrite64"}[mode]
    last = max(number for number, line in enumerate(inside) if commits in line)
    return sum("sync(" in line for line in inside[last:]), connect(path, mode, level).execute("SELECT count(*) FROM message").get

if len(sys.argv) > 1:
    db = connect(*sys.argv[1:])
    os.getppid()  # the trace's mark: from here on
    db.execute("INSERT INTO message VALUES ('stored')")
    os.getppid()
    os._exit(0)
syncs, rows = seen("DELETE", "FULL")
others = "; ".join(f"{mode} {level} {seen(mode, level)[0]}" for mode, level in (("DELETE", "EXTRA"), ("TRUNCATE", "FULL"), ("WAL", "FULL")))
print(f"DELETE FULL {syncs} syncs after, {rows} rows kept; {others}")
PY
seen=$(cd "$folder" && venv/bin/python run.py)
echo "$seen"
expected='DELETE FULL 0 syncs after, 0 rows kept; DELETE EXTRA 1; TRUNCATE FULL 1; WAL FULL 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what commits is synced in other modes."; exit 1; }
