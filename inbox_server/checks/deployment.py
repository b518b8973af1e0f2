"""Checks of this machine's disk: configuration, secret, data directory, database, space. They change nothing."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from inbox_server.checks.capability import is_loopback
from inbox_server.checks.results import Findings, quoted
from inbox_server.config.config import BadConfig, Config
from inbox_server.config.file import load_config
from inbox_server.config.secret import BadSecret, Secret, read_secret
from inbox_server.store.contract import BadDatabase
from inbox_server.store.migrating import why_not_served
from inbox_server.store.sqlite.database import room
from inbox_server.store.sqlite.inspect import Inspection, LeftAlone, inspect, is_served
from inbox_server.store.sqlite.opening import DATABASE_NAME

_OTHERS: Final = 0o077
_ROOM_TO_WORRY: Final = 16  # times the reserve
_MEGABYTE: Final = 1 << 20
_AS_THE_SERVER: Final = "Run this as the server's own user, or as root."
_RESTORE: Final = "Restore a copy: docs/troubleshooting.md, The database is damaged."


def check_config(path: Path, findings: Findings) -> Config | None:
    """The configuration, or None with every mistake noted."""
    try:
        config = load_config(path)
    except BadConfig as error:
        for mistake in error.mistakes:
            findings.fail("configuration", quoted(mistake), f"Correct it in {path}.")
        return None
    findings.ok("configuration", f"{path} for {config.public_url}, registration {config.registration}")
    if config.outgoing_allow:
        allowed = ", ".join(sorted(config.outgoing_allow))
        findings.warn("configuration", f"outgoing.allow lets strangers' URLs lead to {allowed}", "Empty it.")
    if config.registration == "listed" and not config.listed:
        findings.warn("configuration", "nobody may claim an inbox", "List identities in registration.listed.")
    if config.public_url.startswith("http://") and not is_loopback(config.public_url):
        findings.warn("configuration", f"{config.public_url} is plain HTTP", "Put a TLS proxy in front, use https.")
    return config


def check_secret(config: Config, findings: Findings) -> Secret | None:
    """The secret, or None if it cannot be used."""
    try:
        secret = read_secret(config.secret_file)
    except BadSecret as error:
        hidden = isinstance(error.__context__, PermissionError)
        findings.fail("secret", str(error), _AS_THE_SERVER if hidden else "Without it nothing is found.")
        return None
    if config.secret_file.resolve().is_relative_to(config.data_dir.resolve()):
        said = f"{config.secret_file} leads into server.data_dir"
        findings.fail("secret", said, "Whoever copies one has both: move it.")
    else:
        findings.ok("secret", f"{config.secret_file}: only its owner can read it, and it is outside the data directory")
    return secret


def check_data_dir(config: Config, findings: Findings) -> bool:
    """Whether there is one that can be opened."""
    folder = config.data_dir
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        findings.skip("data directory", f"{folder} is not there yet; `inbox-server serve` makes it")
        return False
    except OSError as error:
        findings.fail("data directory", f"{folder} cannot be looked into: {error.strerror}", _AS_THE_SERVER)
        return False
    if mode & _OTHERS:
        findings.fail("data directory", f"{folder} is open to others (mode {mode:o})", f"Run: chmod 700 {folder}")
    elif not os.access(folder, os.W_OK | os.X_OK):
        findings.warn("data directory", f"{folder} cannot be written by this user", _AS_THE_SERVER)
    else:
        findings.ok("data directory", f"{folder}: only its owner can enter it")
    copies = sorted(name for name in names if name.startswith(f"{DATABASE_NAME}.before-step-"))
    if copies:
        said = f"{', '.join(copies)} keeps what was read since"
        findings.warn("data directory", said, "Delete it when the upgraded server works.")
    return True


def check_disk(config: Config, findings: Findings, *, look: Callable[[Path], tuple[int, int]] = room) -> None:
    """`look` returns how much space a folder's disk has left and how much of it is reserved."""
    folders = (config.data_dir, *config.data_dir.parents)
    folder = next(path for path in folders if os.access(path, os.F_OK))  # no error if access is denied
    left, reserve = look(folder)
    said = (
        f"{left // _MEGABYTE:,} MB are left for {config.data_dir}, and the last {reserve // _MEGABYTE} MB take nothing"
    )
    if not reserve:
        findings.skip("disk", f"the filesystem of {folder} does not tell its size")
    elif left <= reserve:
        findings.fail("disk", f"{said} but reading and acknowledging", "Make room: deliveries are refused.")
    elif left <= _ROOM_TO_WORRY * reserve:
        findings.warn("disk", f"{said} new", "Make room soon.")
    else:
        findings.ok("disk", f"{said} new")


def check_database(config: Config, secret: Secret, findings: Findings, *, seconds: float) -> None:
    path = config.data_dir / DATABASE_NAME
    if not path.exists():
        _note_absent(config.data_dir, findings)
        return
    if not os.access(path, os.R_OK):
        findings.fail("database", f"{path} cannot be read by this user", _AS_THE_SERVER)
        return
    try:
        found = inspect(config.data_dir, secret.hashes().check_value(), secret.layers, seconds=seconds)
    except LeftAlone as reason:
        findings.skip("database", str(reason), "Start the server, and ask again.")
        return
    except BadDatabase as error:
        findings.fail("database", str(error), _RESTORE)
        return
    _judge(path, found, seconds, findings)


def _judge(path: Path, found: Inspection, seconds: float, findings: Findings) -> None:
    size = f"{found.bytes / _MEGABYTE:,.1f} MB, schema version {found.version}"
    if not found.bytes:
        findings.fail("database", f"{path} is empty", _RESTORE)
    elif not found.version:
        findings.fail("database", f"{path} is another program's", "Move it away: is server.data_dir right?")
    elif found.version > found.newest:
        said = f"{path} has schema version {found.version}, newer than this command's"
        findings.fail("database", said, "Use the inbox-server that wrote it.")
    elif not found.is_secrets:
        said = "was made with another secret, so nothing in it would be found"
        findings.fail("database", f"{path} {said}", "Put that one back: docs/troubleshooting.md, The secret is lost.")
    elif found.damage:
        findings.fail("database", f"{path} is damaged: {quoted(found.damage)}", _RESTORE)
    elif why := why_not_served(found.mark, str(path)):
        findings.fail("database", why, "Then ask again.")
    elif not found.is_newest:
        said = f"{size}; a rotation of the secret waits for the server's next start"
        findings.warn("database", said, "Restart the server: until then the secret before the last one opens it.")
    elif not found.read_through:
        said = f"{size}; what was read in {seconds:g} s is intact, the rest was not checked"
        findings.ok("database", f"{said} (`inbox-server backup` reads all of it)")
    elif found.version < found.newest:
        findings.ok("database", f"{size}, whole; the next start brings it to {found.newest}, after making a copy")
    else:
        findings.ok("database", f"{size}, whole, and of this secret")


def _note_absent(folder: Path, findings: Findings) -> None:
    try:
        served = is_served(folder)
    except OSError as error:
        findings.fail("database", f"whether a server runs on {folder} cannot be seen: {error.strerror}", _AS_THE_SERVER)
        return
    if served:
        said = f"the server runs on {folder}, but {DATABASE_NAME} is no longer there"
        findings.fail("database", said, "Move it back; until then the server refuses everything that writes.")
    else:
        findings.skip("database", f"there is none in {folder} yet; `inbox-server serve` makes it")
