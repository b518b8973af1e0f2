"""The configuration as the program has it: checked, complete, typed. `file.py` makes it from TOML."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inbox_server.identity.keys import PublicKey
from inbox_server.identity.names import Address, Name
from inbox_server.outgoing.guard import Nat64

RegistrationMode = Literal["listed", "invite", "open"]


class BadConfig(Exception):
    """The configuration cannot be used. `mistakes` has one line for each thing to fix, in `file` if it is known."""

    def __init__(self, mistakes: Iterable[str], file: Path | None = None) -> None:
        self.mistakes = tuple(mistakes)
        where = f"{file}: " if file else ""
        super().__init__("\n".join(where + mistake for mistake in self.mistakes))


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address to listen on; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Unix:
    """A Unix socket to listen on."""

    path: Path


Listen = Tcp | Unix


@dataclass(frozen=True, slots=True)
class Listed:
    """Somebody who may claim an inbox here. `apps` of None means every app (of a name) or the one of the key."""

    identity: Name | PublicKey | Address
    apps: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Static:
    """A name whose app key the operator vouches for, without any look-up."""

    name: str
    app: str
    key: PublicKey


@dataclass(slots=True)
class Config:
    """Checked and complete. Paths are absolute; URLs have no slash at the end.

    All parts of a server share one, and only `adopt` (file.py) changes it, when the file is read again.
    """

    public_url: str
    listen: Listen
    admin_listen: Listen | None
    behind_proxy: bool
    proxy_header: str
    hosts: frozenset[str]
    admin_hosts: frozenset[str]
    processes: int
    data_dir: Path
    secret_file: Path
    store_url: str = field(repr=False)
    """Of PostgreSQL; of several clusters the first. Empty for SQLite."""
    store_urls: tuple[str, ...] = field(repr=False)
    """Of several clusters, or empty."""
    store_password_file: Path | None
    store_connections: int
    store_day_keys_file: Path | None
    name_services: tuple[str, ...]
    agreement: bool
    static: tuple[Static, ...]
    registration: RegistrationMode
    listed: tuple[Listed, ...]
    open_to_keys: bool
    open_per_hour: int
    max_inboxes: int
    default_retention_seconds: int
    max_retention_seconds: int
    inbox_entries: int
    inbox_bytes: int
    inbox_read_entries: int
    list_entries: int
    sender_per_hour: int
    inbox_per_hour: int
    network_per_hour: int
    hint_pause_seconds: int
    hint_jitter_seconds: int
    webhook_url: str
    webhook_authorization: str = field(repr=False)
    matrix_homeserver: str
    matrix_user_id: str
    matrix_token_file: Path
    outgoing_allow: frozenset[str]
    outgoing_nat64: Nat64
