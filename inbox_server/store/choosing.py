"""Which store the configuration names: SQLite in the data directory, or PostgreSQL; and opening it.

What PostgreSQL needs is loaded only where it is named.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inbox_server.clock import Clock, UnixTime, system_clock
from inbox_server.config.config import Config
from inbox_server.config.secret import Secret, read_database_password
from inbox_server.errors import CommandFailed
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.store.contract import Changed, Committed, Store, quota_of
from inbox_server.store.sqlite import opening as sqlite
from inbox_server.store.sqlite.files import keep_owner, make_private
from inbox_server.store.sqlite.inspect import holds_inboxes


def postgres(part: str) -> Any:
    """A module of `store/postgres/`. Raises `CommandFailed` where asyncpg is not installed."""
    if not find_spec("asyncpg"):
        raise CommandFailed(
            "A PostgreSQL database is named, and asyncpg is not installed. Install inbox-server again with both"
            " extras: pip install 'inbox-server[server,postgres]', or the same after the name of the file."
        )
    return import_module(f"inbox_server.store.postgres.{part}")


def load_postgres() -> None:
    """Load all that servers on PostgreSQL need: who is forked later is of this version, whatever is installed by then.

    Raises `CommandFailed`.
    """
    postgres("opening")
    postgres("upgrading").schema_steps()


def clusters_of(config: Config) -> list[Any]:
    """Each `Cluster` that the configuration names, all with one password. Raises `BadSecret` or `CommandFailed`."""
    cluster, password = postgres("primary").Cluster, read_database_password(config.store_password_file)
    urls = config.store_urls or (config.store_url,)
    return [cluster(url, password, connections=config.store_connections) for url in urls]


def cluster_of(config: Config) -> Any:
    """The first cluster. Raises as `clusters_of`."""
    return clusters_of(config)[0]


def day_keys_file(config: Config) -> Path:
    return config.store_day_keys_file or config.data_dir / "day-keys"


@contextlib.asynccontextmanager
async def open_store(
    config: Config,
    *,
    check_value: bytes,
    layers: Layers = ONLY_ONE,
    changed: Changed = lambda _inboxes: None,
    committed: Committed = lambda _works, _seconds: None,
    watched: Callable[[], Collection[bytes]] = list,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    clock: Clock = system_clock,
) -> AsyncIterator[Store]:
    """Open or make the database for as long as the context lasts. Raises `BadDatabase`, `BadSecret`, `CommandFailed`.

    `watched` are the inboxes that somebody waits for here: what others write to them is told to `changed`.
    """
    common: dict[str, Any] = {
        "check_value": check_value,
        "layers": layers,
        "quota": quota_of(config),
        "changed": changed,
        "committed": committed,
        "random_bytes": random_bytes,
    }
    if not config.store_url:
        async with sqlite.open_store(config.data_dir, **common) as store:
            yield store
        return
    make_private(config.data_dir)
    clusters, path = clusters_of(config), day_keys_file(config)
    is_new, opening = not path.exists(), postgres("opening")
    common |= {"day_keys_file": path, "watched": watched, "clock": clock}
    async with (
        opening.open_sharded_store(clusters, **common)
        if config.store_urls
        else opening.open_store(clusters[0], **common)
    ) as store:
        if is_new:
            keep_owner(path, path.parent)  # root may have asked, and the server writes it over each day
        if holds_inboxes(config.data_dir) and not (await store.totals()).inboxes:
            raise CommandFailed(f"{left_behind(config)}.")
        yield store


def left_behind(config: Config) -> str:
    """What to do about a database of SQLite beside one of PostgreSQL that has no inboxes: all would seem to be gone."""
    return (
        f"{config.data_dir / sqlite.DATABASE_NAME} has inboxes, and the PostgreSQL database has none. Move them, with"
        " `inbox-server migrate-store --from sqlite: --to` and the URL: docs/postgresql.md, Moving to it and back. To"
        " begin without them, move that file away"
    )


@contextlib.contextmanager
def holding_data_dir(config: Config) -> Iterator[None]:
    """Hold the data directory as one of the servers that share it. Raises `BadDatabase`.

    SQLite's own opening holds it, and for itself alone.
    """
    if not config.store_url:
        yield
        return
    make_private(config.data_dir)
    with sqlite.only_server(config.data_dir, alone=False):
        yield


async def add_invite(config: Config, secret: Secret, code: bytes, *, expires: UnixTime) -> None:
    """Remember an invite, beside running servers or without one. Raises as `open_store`."""
    check_value = secret.hashes().check_value()
    if config.store_url:
        add = postgres("opening").add_invite(
            cluster_of(config), code, expires=expires, check_value=check_value, layers=secret.layers
        )
    else:
        add = sqlite.add_invite(config.data_dir, code, expires=expires, check_value=check_value, layers=secret.layers)
    await add
