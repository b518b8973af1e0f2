"""Databases as earlier versions left them: their schema steps, and today's rows as those versions had them."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from inbox_server.store.sqlite.database import schema_steps, upgrade_steps
from inbox_server.store.sqlite.slots import text_in
from inbox_server.store.texts import TEXT_BYTES

_CHANNELS: Final = 4  # the step from which on there are other subscriptions than those of push
_READY_TEXTS: Final = 5  # the step from which on a text lies in its slot as it is listed


def write_old_database(path: Path, version: int, today: Path) -> None:
    """Make a database at `path` as that version had it, with everything that it knew of the database `today`."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        upgrade_steps(db, path, schema_steps()[:version])
        db.execute("ATTACH ? AS today", (str(today),))
        db.execute("BEGIN")
        tables = db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            names = [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,))]
            columns, source = ", ".join(names), table
            if version < _CHANNELS:
                columns = columns.replace("push_gone", "(gone = 'push')")
                source = "subscription WHERE channel = 'push'" if table == "push" else table
            db.execute(f"DELETE FROM main.{table}")
            db.execute(f"INSERT INTO main.{table} ({', '.join(names)}) SELECT {columns} FROM today.{source}")
        if version < _READY_TEXTS:
            db.execute("UPDATE main.text SET body = zeroblob(?)", (TEXT_BYTES,))
            rows = db.execute(
                "SELECT slot, body, size, listed FROM today.message JOIN today.text USING (slot)"
            ).fetchall()
            texts = [(text_in(*row).encode().ljust(TEXT_BYTES, b"\0"), slot) for slot, *row in rows]
            db.executemany("UPDATE main.text SET body = ? WHERE slot = ?", texts)
        db.execute("COMMIT")
