#!/usr/bin/env bash
# One would guess: an INSERT that ran into asyncio's timeout was broken off; the next commit does not contain it.
# What happens: the timeout ends only the waiting. The statement goes on in aiosqlite's thread, everything later queues behind it,
#   and the commit of the next, unrelated piece of work takes its row along.
# Version: aiosqlite 0.22.1, from PyPI. Seen: TimeoutError; rows after the next commit: ['late', 'next']
# Who meets it: those who wrap database calls in asyncio.timeout() or whose tasks are cancelled, and go on with the connection.
#   `await connection.rollback()` after a timeout or a cancellation is the way round: it waits for its turn.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiosqlite==0.22.1 2>/dev/null
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, aiosqlite

SLOW = """INSERT INTO entry SELECT 'late' FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)
    SELECT max(i) FROM n)"""

async def main():
    async with aiosqlite.connect("entries.db") as connection:
        await connection.execute("CREATE TABLE entry (name TEXT)")
        try:
            await asyncio.wait_for(connection.execute(SLOW), 0.05)
            result = "no timeout"
        except TimeoutError as error:
            result = type(error).__name__
        await connection.execute("INSERT INTO entry VALUES ('next')")
        await connection.commit()
        rows = [name for name, in await connection.execute_fetchall("SELECT name FROM entry")]
    print(f"{result}; rows after the next commit: {rows}")

asyncio.run(main())
PY
)
echo "$seen"
expected="TimeoutError; rows after the next commit: ['late', 'next']"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a statement that timed out is not in the next commit."; exit 1; }
