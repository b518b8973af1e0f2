"""Opening the database: one server per directory, the right secret, an up-to-date schema."""

import contextlib
import fcntl
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from inbox_server.clock import UnixTime
from inbox_server.identity.layer import NO_LAYER, ONLY_ONE, Layer, Layers
from inbox_server.store.contract import BadDatabase, Changed, Committed, Quota, Store
from inbox_server.store.layered import LayeredStore, shown
from inbox_server.store.migrating import Mark, refuse_marked
from inbox_server.store.sqlite.database import Connection, open_connection, schema_steps, upgrade
from inbox_server.store.sqlite.files import check_free, check_mine, keep_owner, make_private, new_file
from inbox_server.store.sqlite.reader import Reader
from inbox_server.store.sqlite.recent_uses import RecentUses
from inbox_server.store.sqlite.remembered import Remembered
from inbox_server.store.sqlite.settings import is_draining
from inbox_server.store.sqlite.slots import Slots
from inbox_server.store.sqlite.store import SqliteStore
from inbox_server.store.sqlite.writer import Writer

DATABASE_NAME: Final = "inbox.sqlite3"
LOCK_NAME: Final = "lock"
_ADVICE: Final = "Put it back, or move what is there away and use `inbox-server restore`."
_LOCK_SECONDS: Final = 2  # `inbox-server invite` holds it for a moment


@contextlib.asynccontextmanager
async def open_store(
    folder: Path,
    *,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    quota: Quota,
    changed: Changed = lambda _inboxes: None,
    committed: Committed = lambda _jobs, _seconds: None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> AsyncIterator[Store]:
    """Open or make the database in `folder` for as long as the context lasts. Raises `BadDatabase`.

    It stays under the layer that it has; a new one is made under the newest of `layers`.
    """
    make_private(folder)
    remembered, slots, uses = Remembered(), Slots(), RecentUses()
    with only_server(folder):
        async with (
            open_database(folder, check_value, layers, random_bytes) as (connection, layer),
            open_connection(folder / DATABASE_NAME, read_only=True) as second,
            Reader(second) as reader,
            Writer(
                connection,
                remembered.changing,
                changed if layer is NO_LAYER else shown(changed, layer),
                committed,
                rolled_back=(slots.forget, uses.forget),
            ) as writer,
        ):
            draining = await reader.read(is_draining)
            store = SqliteStore(reader, writer, remembered, slots, uses, quota, draining=draining)
            yield store if layer is NO_LAYER else LayeredStore(store, layer)


async def add_invite(
    folder: Path, code: bytes, *, expires: UnixTime, check_value: bytes, layers: Layers = ONLY_ONE
) -> None:
    """Remember an invite, beside a running server or without one. Raises `BadDatabase`."""
    make_private(folder)
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.enter_context(only_server(folder, wait_seconds=0))
            opening = open_database(folder, check_value, layers, secrets.token_bytes)
            connection, layer = await stack.enter_async_context(opening)
        except InUse:  # whoever holds it made the file, and alone may change its schema
            layer = check_file(folder / DATABASE_NAME, check_value, layers, exact=True)
            connection = await stack.enter_async_context(open_connection(folder / DATABASE_NAME))

        def insert(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                refuse_marked(read_mark(db), str(folder / DATABASE_NAME))  # a migration holds it as a server does
                db.execute("INSERT INTO invite (code, expires) VALUES (?, ?)", (layer.hide(code), expires))

        await connection.run(insert)


@contextlib.asynccontextmanager
async def open_database(
    folder: Path, check_value: bytes, layers: Layers, random_bytes: Callable[[int], bytes]
) -> AsyncIterator[tuple[Connection, Layer]]:
    """The database, and the layer that it is under. Raises `BadDatabase`, also for one that was moved elsewhere."""
    async with open_marked(folder, check_value, layers, random_bytes) as (connection, layer):
        refuse_marked(await connection.run(read_mark), str(folder / DATABASE_NAME))
        yield connection, layer


@contextlib.asynccontextmanager
async def open_marked(
    folder: Path, check_value: bytes, layers: Layers, random_bytes: Callable[[int], bytes]
) -> AsyncIterator[tuple[Connection, Layer]]:
    """As `open_database`, of one that may be part of a migration."""
    path = folder / DATABASE_NAME
    _clear(folder)
    if not path.exists():
        await _make(path)
    check_mine(path)
    layer = check_file(path, check_value, layers)
    async with open_connection(path) as connection:
        await upgrade(connection, path, random_bytes)
        kept = (layer.hide(check_value),)
        await connection.run(lambda db: db.execute("INSERT OR IGNORE INTO secret_check VALUES (?)", kept))
        yield connection, layer


def read_mark(db: sqlite3.Connection) -> Mark | None:
    """What the database says of a migration."""
    row = db.execute("SELECT mark, state FROM migration").fetchone()
    return row and Mark(*row)


def _clear(folder: Path) -> None:
    """Remove what a killed start or `restore` left behind."""
    for left in folder.glob(f"{DATABASE_NAME}.*.partial"):
        shutil.rmtree(left)


async def _make(path: Path) -> None:
    """An empty database, which gets its name when it is whole: one that has the name and is empty lost something."""
    check_free(path)
    with new_file(path) as new:
        async with open_connection(new) as connection:
            await upgrade(connection, new)
        keep_owner(new, path.parent)


class InUse(BadDatabase):
    """Another process serves this data directory."""


@contextlib.contextmanager
def only_server(folder: Path, *, wait_seconds: float = _LOCK_SECONDS, alone: bool = True) -> Iterator[None]:
    """One process serves a data directory: two would each answer for what the other does not know. Raises `InUse`.

    Those that are not `alone` have their database elsewhere, and share the directory.
    """
    path = folder / LOCK_NAME
    check_mine(path)
    if not path.exists():
        path.touch(mode=0o600)
        keep_owner(path, folder)
    end = time.monotonic() + wait_seconds
    with path.open() as lock:
        while True:
            try:
                fcntl.flock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise InUse(f"{folder} is in use by another inbox-server. Stop that one first.") from None
                time.sleep(_LOCK_SECONDS / 20)
        yield


def check_file(
    path: Path, check_value: bytes, layers: Layers = ONLY_ONE, *, advice: str = _ADVICE, exact: bool = False
) -> Layer:
    """The layer that a file is under, the newest if it has none of its own yet.

    Refuses one that is not ours, or with `exact` of another version. Nothing changes: not even its log is merged.
    Raises `BadDatabase`, whose text ends with the advice.
    """
    newest = len(schema_steps())
    if path.is_dir():
        raise BadDatabase(f"{path} is a directory. Name the file in it.")
    try:
        if not path.stat().st_size:
            raise BadDatabase(f"{path} is empty, so it is not a database of this server. {advice}")
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > newest:
                raise BadDatabase(f"{path} was written by a newer version of inbox-server. Install that version again.")
            if exact and 0 < version < newest:
                raise BadDatabase(f"{path} is in use by an older version of inbox-server. Restart the server first.")
            kept = db.execute("SELECT value FROM secret_check").fetchall() if version else []
    except FileNotFoundError:
        raise BadDatabase(f"There is no file {path}.") from None
    except (sqlite3.Error, OSError) as error:
        raise BadDatabase(f"{path} is not this server's database: {error}. It was left as it is. {advice}") from error
    if not version:
        raise BadDatabase(f"{path} is a database of another program. It was left as it is. {advice}")
    if not kept:
        return layers[0]
    layer = layer_of(kept, check_value, layers)
    if layer is None:
        raise BadDatabase(
            f"The secret is not the one that {path} was made with; nothing in it would be found."
            " Put the file with that secret back: docs/troubleshooting.md, The secret is lost."
        )
    return layer


def layer_of(kept: Sequence[tuple[bytes]], check_value: bytes, layers: Layers) -> Layer | None:
    """The layer under which a database keeps these rows of `secret_check`; None if it is none of them."""
    return next((layer for layer in layers if kept == [(layer.hide(check_value),)]), None)
