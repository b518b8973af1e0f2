"""Evidence of what a server keeps: every row of its database, and a search of its files."""

import contextlib
import sqlite3
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.world.local_world import World
from inbox_server.world.people import Person

_SHOWN_CHARACTERS: Final = 24


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the server's database at one moment: blobs in hex, long values shortened, numbers unchanged."""

    name: str
    columns: list[str]
    rows: list[list[int | str | None]]


def read_tables(data_dir: Path) -> list[Table]:
    """Every table at one moment, with every column and row."""
    uri = f"file:{data_dir / DATABASE_NAME}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        return [_read_table(db, name) for (name,) in names]


def _read_table(db: sqlite3.Connection, name: str) -> Table:
    rows = db.execute(f"SELECT * FROM {name}")  # noqa: S608 — the schema's own names
    columns = [column[0] for column in rows.description]
    return Table(name, columns, [[_show(value) for value in row] for row in rows])


def table_lines(data_dir: Path) -> Iterator[str]:
    """Each table of the server's database with its rows, a line each; those that hold nothing are only counted."""
    for table in read_tables(data_dir):
        yield f"{table.name}: {len(table.rows)} row{'' if len(table.rows) == 1 else 's'}"
        rows = [row for row in table.rows if not _is_empty(table, row)]
        if len(rows) < len(table.rows):
            yield f"   {len(table.rows) - len(rows)} of them hold nothing"
        for row in rows:
            cells = (f"{name}={value}" for name, value in zip(table.columns, row, strict=True))
            yield from textwrap.wrap(
                "  ".join(cells), 110, initial_indent="   ", subsequent_indent="      ", break_long_words=False
            )


def _is_empty(table: Table, row: list[int | str | None]) -> bool:
    """A slot or a page of zeros, or the number of a free slot. What is in them does not begin with as many zeros."""
    return table.name == "free_slot" or (
        table.name in ("text", "recent_use") and set(str(row[1]).removesuffix("…")) <= {"0"}
    )


def marks_of(people: Iterable[Person], message_ids: Iterable[str], world: World) -> dict[str, bytes]:
    """What must not be in the server's files: the bytes to search for, each with its description."""
    marks: dict[str, bytes] = {}
    for person in people:
        marks[f"the name {person.name}"] = person.name.encode()
        marks[f"{person.name}'s app"] = person.app.encode()
        marks[f"{person.name}'s owner address"] = person.owner_address.encode()
        for what, key in (("owner", person.owner), ("data", person.data), ("app", person.app_key)):
            marks[f"{person.name}'s {what} key in hex"] = key.public.encode()
            marks[f"{person.name}'s {what} key"] = bytes.fromhex(key.public)
            marks[f"{person.name}'s {what} address"] = key.address.encode()
    for id in message_ids:
        marks[f"the message ID {id}"] = id.encode()
    for url in (world.inbox_url, world.names_url, world.hub_url, world.read_url):
        marks[f"the URL {url}"] = url.removeprefix("http://").encode()
    return marks


def find_marks(data_dir: Path, marks: dict[str, bytes]) -> list[str]:
    """Which of the marks are in any file below `data_dir`: the database, its write-ahead log, anything else."""
    contents = [path.read_bytes() for path in data_dir.rglob("*") if path.is_file()]
    return [what for what, mark in marks.items() if any(mark in content for content in contents)]


def _show(value: Any) -> int | str | None:
    if value is None or isinstance(value, int):
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
