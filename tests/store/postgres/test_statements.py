"""What the SQL for PostgreSQL keeps to, so that inboxes can be anywhere: no statement crosses two of them unseen."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox_server.store.postgres import upgrading
from inbox_server.store.postgres.shard_moving import TABLES
from tests.support import postgres

FOLDER = Path(upgrading.__file__).parent
OF_INBOXES = "|".join({*TABLES, "text"} - {"name"})
STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b")
USES = re.compile(rf"\b(?:FROM|INTO|UPDATE|JOIN|USING)\s+(?:{OF_INBOXES})\b")
NAMES_INBOX = re.compile(r"\binbox\b\s*(?:=|>=|,|\))|USING \(inbox|\(inbox, change\)")
# Those that look through everything, and why that is no crossing: each row is then taken by its inbox, or only counted.
LOOK_THROUGH = {
    "expiry.py": "finds what has expired, some rows at a time",
    "joining.py": "sees whether a cluster is new",
    "log.py": "finds marks that are over",
    "operations.py": "counts for the operator",
    "outages.py": "finds what lapsed in an outage",
    "settings.py": "counts inboxes for the limit and the metrics",
    "text_days.py": "sees whether a day has unread texts left",
    "vacuum.py": "writes over and gives room back, by tables",
    "restored.py": "gives all inboxes new generations, some at a time",
    "inspect.py": "looks at the database for doctor",
    "sharding.py": "sees whether the first cluster is new",
    "shard_moving.py": "counts for the operator",
    "store.py": "asks whether anything can be read",
    "migrating.py": "copies a database, inbox by inbox",
    "whole_inboxes.py": "copies a database, inbox by inbox",
}


def statements() -> Iterator[tuple[str, str]]:
    """The file and the text of each statement; what is put into it later is left out."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if STATEMENT.match(text) and USES.search(text):
                yield path.name, text


def test_the_reader_finds_statements() -> None:
    assert len(list(statements())) > 40


@pytest.mark.parametrize(
    ("file", "text"), [pytest.param(*each, id=f"{each[0]}: {each[1][:40]}") for each in statements()]
)
def test_each_statement_says_whose_rows_it_means(file: str, text: str) -> None:
    assert NAMES_INBOX.search(text) or file in LOOK_THROUGH, text


@pytest.mark.postgres
async def test_the_schema_has_nothing_that_crosses_inboxes(tmp_path: Path) -> None:
    """No sequence, foreign key or trigger, and every unique index of inboxes' rows begins with the inbox."""
    db = await postgres.cluster_of(tmp_path).connect()
    try:
        await upgrading.upgrade(db)
        here = "relnamespace = current_schema()::regnamespace"
        assert not await db.fetch(f"SELECT relname FROM pg_class WHERE {here} AND relkind = 'S'")
        assert not await db.fetch(
            f"SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE {here} AND contype = 'f'"
        )
        assert not await db.fetch(f"SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE {here}")
        unique = await db.fetch(
            "SELECT pg_class.relname, attname FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
            f" WHERE {here} AND indisunique"
        )
        first = {table: column for table, column in unique if re.fullmatch(OF_INBOXES, table)}
        assert first.keys() == set(OF_INBOXES.split("|"))
        assert set(first.values()) == {"inbox"}
    finally:
        await db.close()
