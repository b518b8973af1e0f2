"""Reading, checking and writing the configuration file.

An unknown key is a mistake, because a key that is silently ignored is a promise silently broken. All mistakes are
reported at once, each with its path.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from errno import EACCES
from pathlib import Path
from typing import Any, Final

from inbox_server.config.config import BadConfig, Config, Listen, Tcp
from inbox_server.config.keys import KEYS
from inbox_server.config.values import Mistakes, credentials

_RELOADED_SECTIONS: Final = ("limits.", "registration.", "names.")
_RELOADED: Final = ("notify.pause_seconds", "notify.jitter_seconds", "server.proxy_header")
NOT_LOOPBACK: Final = (
    "is not loopback, and this server speaks no TLS: put a TLS proxy in front, and set server.behind_proxy = true"
)
ONLY_ONE_PROCESS: Final = (
    "must be 1 with SQLite, whose file is for one process: name a PostgreSQL database in store.url (docs/postgresql.md)"
)
WEBHOOK_CREDENTIAL: Final = "inbox-webhook-authorization"


def load_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check a file, and the systemd credential for the webhook, if there is one. Raises `BadConfig`."""
    config = _read_config(path)
    credential = Path(environment.get("CREDENTIALS_DIRECTORY", ""), WEBHOOK_CREDENTIAL)
    if "CREDENTIALS_DIRECTORY" not in environment or not credential.exists():
        return config
    try:
        return replace(config, webhook_authorization=credentials(credential.read_text().strip(), path.parent))
    except (OSError, ValueError) as error:
        raise BadConfig([f"{credential}: {error}"]) from None


def adopt(config: Config, new: Config) -> tuple[list[str], list[str]]:
    """Adopt what may change while a server runs. Returns the keys that changed, and those that need a restart."""
    changed = [key for key in KEYS if getattr(config, key.field) != getattr(new, key.field)]
    taken = [key for key in changed if key.path in _RELOADED or key.path.startswith(_RELOADED_SECTIONS)]
    for key in taken:
        setattr(config, key.field, getattr(new, key.field))
    return [key.path for key in taken], [key.path for key in changed if key not in taken]


def _read_config(path: Path) -> Config:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadConfig([f"{path}: there is no such file; `inbox-server init` writes one"]) from None
    except OSError as error:
        advice = "; under systemd it must be readable by all: docs/install.md" * (error.errno == EACCES)
        raise BadConfig([f"{path}: cannot be read: {error.strerror}{advice}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig([f"{path}: is not TOML: {error}"]) from None
    try:
        return parse_config(document, path.resolve().parent)
    except BadConfig as error:
        raise BadConfig(error.mistakes, path) from None


def parse_config(document: Mapping[str, Any], base: Path) -> Config:
    """Check a parsed document; `base` is what relative paths are relative to. Raises `BadConfig` with all mistakes."""
    mistakes = _unknown_keys(document)
    values: dict[str, Any] = {}
    for key in KEYS:
        section, _, name = key.path.rpartition(".")
        table: Any = document
        for step in section.split("."):
            table = table.get(step, {}) if isinstance(table, dict) else {}
        given = isinstance(table, dict) and name in table
        if key.required and not given:
            mistakes.append(f"{key.path}: is missing; for example {key.default}")
            continue
        written = table[name] if given else tomllib.loads(f"x = {key.default}")["x"]
        try:
            values[key.field] = key.parse(written, base)
        except Mistakes as several:
            mistakes += [f"{key.path}{where}: {text}" for where, text in several.mistakes]
        except ValueError as error:
            mistakes.append(f"{key.path}: {error}")
    default, most = values.get("default_retention_seconds"), values.get("max_retention_seconds")
    if default is not None and most is not None and default > most:
        mistakes.append("limits.default_retention_seconds: must not be more than limits.max_retention_seconds")
    if values.get("matrix_homeserver") and values.get("matrix_user_id") == "":
        mistakes.append("notify.matrix.user_id: is missing; the bot's own ID, such as @inbox:matrix.example")
    data, secret = values.get("data_dir"), values.get("secret_file")
    if data and secret and secret.is_relative_to(data):
        mistakes.append("server.secret_file: must not be in server.data_dir, or whoever copies one has both")
    if urls := values.get("store_urls"):
        if values.get("store_url"):
            mistakes.append("store.urls: must have all clusters, so leave store.url empty")
        if len(set(urls)) < len(urls):
            mistakes.append("store.urls: has one URL twice")
        values["store_url"] = urls[0]
    if values.get("processes", 1) > 1 and values.get("store_url") == "":
        mistakes.append(f"server.processes: {ONLY_ONE_PROCESS}")
    for field in ("listen", "admin_listen"):
        if not values.get("behind_proxy") and not is_private(values.get(field)):
            mistakes.append(f"server.{field}: {NOT_LOOPBACK}")
    if mistakes:
        raise BadConfig(mistakes)
    return Config(**values)


def is_private(listen: Listen | None) -> bool:
    """Whether only this machine can reach it."""
    if not isinstance(listen, Tcp):
        return True
    try:
        return ipaddress.ip_address(listen.host).is_loopback
    except ValueError:
        return listen.host == "localhost"


def _unknown_keys(document: Mapping[str, Any]) -> list[str]:
    sections = {key.path.split(".")[0] for key in KEYS}
    mistakes = []
    for section, table in document.items():
        if section in sections:
            mistakes += _unknown_in(section, table)
        elif isinstance(table, dict):
            mistakes.append(f"{section}: unknown section; known are {', '.join(sorted(sections))}")
        else:
            mistakes.append(f"{section}: is in no section{_meant(section)}")
    return mistakes


def _unknown_in(section: str, table: Any) -> list[str]:
    """Unknown keys in a section and in the sections below it."""
    if not isinstance(table, dict):
        return [f"{section}: must be a table, [{section}]"]
    known = {key.path for key in KEYS}
    below = {path.rpartition(".")[0] for path in known}
    mistakes = []
    for name, value in table.items():
        path = f"{section}.{name}"
        if path in below:
            mistakes += _unknown_in(path, value)
        elif path not in known:
            mistakes.append(f"{path}: unknown key{_meant(path)}")
    return mistakes


def _meant(path: str) -> str:
    """What was probably meant: a key of this name in another section, or one that is written almost like it."""
    section, _, name = path.rpartition(".")
    keys = [key.path.rpartition(".") for key in KEYS]
    elsewhere = [of_key for of_key, _, known in keys if known == name]
    known = [known for of_key, _, known in keys if of_key == section]
    if elsewhere:
        section, close = elsewhere[0], [name]
    else:
        close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {section}.{close[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def render_config(overrides: Mapping[str, str] | None = None, *, leave_out: frozenset[str] = frozenset()) -> str:
    """The commented file with every key at its default; `overrides` maps paths to other values, in TOML.

    Paths in `leave_out` are comments too.
    """
    overrides = overrides or {}
    lines = ["# The configuration of inbox-server. Every key is listed here with its default. Unknown keys are errors."]
    section = ""
    for key in KEYS:
        of_key, _, name = key.path.rpartition(".")
        if of_key != section:
            section = of_key
            lines += ["", f"[{section}]"]
        lines += [f"# {line}" for line in key.comment.splitlines()]
        mark = "# " if key.path in leave_out else ""
        lines.append(f"{mark}{name} = {overrides.get(key.path, key.default)}")
    return "\n".join(lines) + "\n"
