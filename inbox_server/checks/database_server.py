"""Checks of a PostgreSQL database, its server and this host's day keys. They change nothing."""

import os
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from inbox_server.checks.results import Findings
from inbox_server.clock import DAY_SECONDS
from inbox_server.config.config import Config
from inbox_server.config.secret import BadSecret, Secret
from inbox_server.errors import CommandFailed
from inbox_server.store.choosing import clusters_of, day_keys_file, left_behind, postgres
from inbox_server.store.migrating import why_not_served
from inbox_server.store.sqlite.inspect import holds_inboxes

_SET_UP: Final = "docs/postgresql.md, Set up"
_OLDEST: Final = 150000  # as `server_version_num` has it
_MOST_SKEW: Final = 5.0  # seconds
_OTHERS: Final = 0o077
_FAIL: Final = "failed"
_WARN: Final = "warning"
# Each setting, the value that it must have, how bad another one is, and why.
_SETTINGS: Final = (
    ("fsync", "on", _FAIL, "what was answered is lost with the power"),
    ("full_page_writes", "on", _FAIL, "a power cut can damage the database"),
    ("autovacuum", "on", _WARN, "what was read stays in the files, and they grow"),
    ("wal_recycle", "off", _WARN, "what was read stays in old segments of the log until they are written over"),
    ("log_error_verbosity", "terse", _WARN, "an error can put a row into PostgreSQL's log"),
    ("archive_mode", "off", _WARN, "the archive keeps what was read, sealed, for as long as you keep the archive"),
)


async def check_database_server(
    config: Config, secret: Secret, findings: Findings, *, clock: Callable[[], float]
) -> None:
    """`clock` is ours, in seconds since 1970."""
    try:
        clusters = clusters_of(config)
    except CommandFailed as error:
        findings.fail("database", str(error), "Then ask again.")
        return
    except BadSecret as error:
        findings.fail("database password", str(error), f"See {_SET_UP}.")
        return
    for number, cluster in enumerate(clusters, 1):
        here = findings.at(f"cluster {number}, {cluster.places()}") if len(clusters) > 1 else findings
        await _check_cluster(cluster, config, secret, here, clock)
    if config.store_urls:
        await _check_shards(clusters, findings)


async def _check_shards(clusters: Sequence[Any], findings: Findings) -> None:
    try:
        held = await postgres("shard_moving").list_shards(clusters)
    except CommandFailed as error:
        findings.skip("shards", str(error))
        return
    counts = [len(each.shards) for each in held]
    moving = [str(shard) for each in held for shard in each.moving]
    shards: int = postgres("sharding").SHARDS
    if len({each.id for each in held}) < len(held):
        findings.fail("shards", "two of store.urls lead to the same database", "Name each cluster once.")
    elif missing := shards - sum(counts):
        said = f"{missing} of {shards} shards are in no cluster of store.urls, and their inboxes are refused"
        findings.fail("shards", said, "Name all clusters, the first one first: docs/postgresql.md, Shards.")
    elif moving:
        said = f"{', '.join(moving)}: on the way to another cluster, and their inboxes are refused meanwhile"
        findings.warn("shards", said, "Does the command that moves them still run? If not, run it again.")
    else:
        findings.ok("shards", f"each is in a cluster of store.urls ({', '.join(map(str, counts))})")


async def _check_cluster(
    cluster: Any, config: Config, secret: Secret, findings: Findings, clock: Callable[[], float]
) -> None:
    inspecting, failures = postgres("inspect"), postgres("failures")
    try:
        found = await inspecting.inspect(cluster, clock=clock)
    except inspecting.NotReached as error:
        cause = error.__cause__
        places, answered = cluster.places(), failures.answered(cause)
        what = f"PostgreSQL at {places} cannot be used" if answered else f"no primary answers at {places}"
        findings.fail("database", f"{what}: {failures.reason(cause)}", failures.advice(cause))
        return
    judge_database_server(found, config, secret, findings, today=int(clock()) // DAY_SECONDS)


def judge_database_server(found: Any, config: Config, secret: Secret, findings: Findings, *, today: int) -> None:
    """`found` is what `store/postgres/inspect.py` saw; `today` is a number of days since 1970, UTC."""
    _check_database(found, config, secret, findings)
    _check_rights(found, findings)
    _check_settings(found, findings)
    _check_logging(found, findings)
    _check_connections(found, config, findings)
    _check_lines(found, findings)
    _check_standby(found, findings)
    _check_day_keys(day_keys_file(config), found, findings, today=today)


def _check_database(found: Any, config: Config, secret: Secret, findings: Findings) -> None:
    what = f"PostgreSQL {found.version // 10000}.{found.version % 10000}, asyncpg {version('asyncpg')}"
    newest, check_value = len(postgres("upgrading").schema_steps()), secret.hashes().check_value()
    kept = set(found.secret_checks)
    if found.version < _OLDEST:
        findings.fail("database", f"{what}: the server needs PostgreSQL 15 or later", "Upgrade PostgreSQL.")
    elif found.databases > 1:
        said = f"{what}; the hosts of the URL are primaries of {found.databases} different databases"
        advice = (
            "Name a primary and its standbys; for several databases there is store.urls: docs/postgresql.md, Shards."
        )
        findings.fail("database", said, advice)
    elif found.table_of_another:
        said = f"{what}; the database has tables of another program, such as {found.table_of_another}"
        findings.fail("database", said, f"Name a database or a schema of its own: {_SET_UP}.")
    elif not found.has_inboxes and not config.store_urls and holds_inboxes(config.data_dir):
        findings.fail("database", left_behind(config), "Then ask again.")
    elif found.step is None:
        findings.skip("database", f"{what}; there are no tables yet; `inbox-server serve` makes them")
    elif found.step > newest:
        said = f"{what}; the tables are of a newer version of inbox-server than this command"
        findings.fail("database", said, "Install that version here too.")
    elif kept and not any(kept == {layer.hide(check_value)} for layer in secret.layers):
        said = f"{what}; it was made with another secret, so nothing in it would be found"
        findings.fail(
            "database", said, "Copy the secret from another host: docs/troubleshooting.md, The secret is lost."
        )
    elif not found.is_home:
        said = f"{what}; a copy was put back, and no server starts before `inbox-server after-restore` was run"
        findings.fail("database", said, "Run it: docs/postgresql.md, Restore.")
    elif why := why_not_served(found.mark, "it"):
        findings.fail("database", f"{what}; {why}", "Then ask again.")
    elif kept and kept != {secret.layers[0].hide(check_value)}:
        said = f"{what}; it is under an older line of the secret's file, and no start changes that"
        findings.warn("database", said, "See docs/postgresql.md, The secret leaked.")
    else:
        older = f"; the next start brings its tables to step {newest}" if found.step < newest else ""
        findings.ok("database", f"{what}, of this secret, schema step {found.step}{older}")


def _check_rights(found: Any, findings: Findings) -> None:
    if not found.can_create or not found.owns:
        said = (
            "the role may not create tables in the schema"
            if not found.can_create
            else "the role does not own all tables"
        )
        findings.fail("database rights", said, f"Let it own the database: {_SET_UP}.")
    elif found.is_super:
        findings.warn("database rights", "the role is a superuser", f"Use a role that owns only this: {_SET_UP}.")
    else:
        findings.ok("database rights", "the role owns its tables, may create more, and is no superuser")


def _check_settings(found: Any, findings: Findings) -> None:
    wrong = [each for each in _SETTINGS if found.settings.get(each[0], each[1]) != each[1]]
    for name, _, verdict, why in wrong:
        note = findings.fail if verdict == _FAIL else findings.warn
        note("database settings", f"{name} is {found.settings[name]}: {why}", f"See {_SET_UP}.")
    if found.unsettled:
        said = f"{', '.join(found.unsettled)} did not arrive: a pooler takes the settings of sessions away"
        findings.fail("database settings", said, "Connect without it: docs/postgresql.md, Poolers.")
    if found.with_statistics:
        said = f"ANALYZE copies values of {', '.join(found.with_statistics[:3])}, and they outlive their rows"
        findings.warn("database settings", said, "Run: ALTER TABLE … ALTER COLUMN … SET STATISTICS 0, then ANALYZE.")
    if not wrong and not found.unsettled and not found.with_statistics:
        findings.ok("database settings", "what is answered is on disk, and what is erased is kept nowhere else")


def _check_logging(found: Any, findings: Findings) -> None:
    """Statements have no values in them, but their parameters are logged with them."""
    settings = found.settings
    logged = [
        name
        for name, off in (
            ("log_statement", ("none", "ddl")),
            ("log_min_duration_statement", ("-1",)),
            ("log_min_duration_sample", ("-1",)),
            ("log_transaction_sample_rate", ("0",)),
        )
        if settings[name] not in off
    ]
    if logged and settings["log_parameter_max_length"] != "0":
        said = f"{' and '.join(f'{name} = {settings[name]}' for name in logged)} writes hashes and sealed texts"
        findings.warn("database log", f"{said} into PostgreSQL's log", "Turn it off, or log_parameter_max_length = 0.")
    else:
        findings.ok("database log", "PostgreSQL logs no values")


def _check_connections(found: Any, config: Config, findings: Findings) -> None:
    most, needed = found.connections, config.store_connections * config.processes
    said = f"this host's processes need {needed}, and all hosts together may have {most}"
    if needed > most:
        advice = "Raise max_connections, or the limit of the role or the database; each other host needs as many."
        findings.warn("database connections", said, advice)
    else:
        findings.ok("database connections", said)


def _check_lines(found: Any, findings: Findings) -> None:
    if abs(found.skew) > _MOST_SKEW:
        said = f"the database's clock is {abs(found.skew):.0f} s {'ahead of' if found.skew > 0 else 'behind'} this one"
        findings.warn("database clock", said, "Set both right (NTP).")
    else:
        findings.ok("database clock", f"within {_MOST_SKEW:g} s of this one")
    if found.hears:
        findings.ok("notifications", "PostgreSQL's notifications arrive")
    else:
        said = "PostgreSQL's notifications do not arrive: readers at other hosts learn what is new by asking only"
        findings.warn("notifications", said, "Is a pooler in between? docs/postgresql.md, Poolers.")


def _check_standby(found: Any, findings: Findings) -> None:
    if found.standby == "in_sync":
        findings.ok("standby", "a synchronous standby has what is answered")
    elif found.standby == "unknown":
        findings.warn("standby", "the role may not see the standbys", "Run: GRANT pg_read_all_stats TO its role.")
    else:
        said = "no standby confirms what is answered: it is on one disk"
        findings.warn("standby", said, "Set up a synchronous standby; or accept it, on one machine.")


def _check_day_keys(path: Path, found: Any, findings: Findings, *, today: int) -> None:
    keys = postgres("day_keys")
    if not path.exists() and not found.day_checks:
        findings.skip("day keys", f"{path} is not there yet; the first server on an empty database makes it")
        return
    try:
        mode, chain = stat.S_IMODE(path.stat().st_mode), keys.DayKeys(path)
    except (OSError, keys.BadDayKeys) as error:
        said = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
        findings.fail("day keys", said, "Copy it from another host: docs/postgresql.md, More hosts.")
        return
    of_other = [day for day, value in found.day_checks if day >= chain.day and chain.check(day) != value]
    if of_other:
        said = f"{path} is of another database: nothing unread can be opened with it"
        findings.fail("day keys", said, "Copy it from another host: docs/postgresql.md, More hosts.")
    elif mode & _OTHERS:
        findings.fail("day keys", f"{path}: others can read it (mode {mode:o})", f"Run: chmod 600 {path}")
    elif not os.access(path, os.W_OK):
        findings.fail("day keys", f"{path} cannot be written by this user", "Give it to the user who runs the server.")
    elif chain.day < today - 1:
        of = f"{datetime.fromtimestamp(chain.day * DAY_SECONDS, UTC):%Y-%m-%d}"
        said = f"{path} is of {of}, and opens what was read since"
        findings.warn("day keys", said, "A server that runs here updates it within minutes: does one run?")
    else:
        findings.ok("day keys", f"{path}: only its owner can read it, and it is of today")
