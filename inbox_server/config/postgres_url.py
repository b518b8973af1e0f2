"""The URL of a PostgreSQL database, as libpq and asyncpg read it, held to what this server needs of one.

No message quotes it: it may be written with a password, and messages end up in logs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

EXAMPLE: Final = "postgresql://inbox@db1,db2:5433/inbox?sslmode=verify-full&sslrootcert=/path"
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# asyncpg sends every other name to PostgreSQL as a setting of the session.
_KNOWN: Final = (*_FILES, "sslmode", "ssl_min_protocol_version", "search_path")
_MODES: Final = ("disable", "require", "verify-ca", "verify-full")
_LAST_PORT: Final = 65_535
_HOST: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+|%2[Ff][A-Za-z0-9._%-]+)(?::([0-9]+))?")
_LOCAL: Final = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]|%2f.*)(?::[0-9]+)?")


def postgres_url(value: Any, _: Path) -> str:
    """It as it is written, or "" for none. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if value:
        _check(value)
    return value


def cluster_url(value: Any, base: Path) -> str:
    """One of several, so not empty. Raises ValueError."""
    if value == "":
        raise ValueError(f"must be a URL such as {EXAMPLE}")
    return postgres_url(value, base)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError(f"is not a URL; for example {EXAMPLE}") from None
    user, _, places = parts.netloc.rpartition("@")
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f'must be "" (SQLite) or a URL such as {EXAMPLE}')
    if ":" in user or "password" in options:
        raise ValueError("must not hold a password, as others may read this file: put it into store.password_file")
    hosts = [_HOST.fullmatch(place) for place in places.split(",")]
    if not all(hosts):
        raise ValueError(f"must name its hosts, with commas between them; for example {EXAMPLE}")
    if any(host and host[1] and not 0 < int(host[1]) <= _LAST_PORT for host in hosts):
        raise ValueError(f"must name ports from 1 to {_LAST_PORT}; for example {EXAMPLE}")
    if not re.fullmatch(r"/[^/]+", parts.path) or parts.fragment:
        raise ValueError(f"must end with the name of one database; for example {EXAMPLE}")
    if unknown := sorted(options.keys() - set(_KNOWN)):
        raise ValueError(f"has an unknown option {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    if relative := [name for name in _FILES if not options.get(name, "/").startswith("/")]:
        raise ValueError(f"{relative[0]} must be an absolute path")
    _check_mode(options, places.lower().split(","))


def _check_mode(options: Mapping[str, str], places: list[str]) -> None:
    """That the line to other hosts is secured, or said not to be: `prefer` can be turned off by whoever is on it."""
    mode = options.get("sslmode")
    if mode is None and all(_LOCAL.fullmatch(place) for place in places):
        return
    if mode in ("verify-ca", "verify-full") and "sslrootcert" not in options:
        raise ValueError(f"must name the certificates to trust: sslmode={mode}&sslrootcert=/path")
    if mode not in _MODES:
        raise ValueError(
            "must say how the connection to another host is secured: sslmode=verify-full with sslrootcert, verify-ca,"
            " require, or disable where the network itself is encrypted"
        )
