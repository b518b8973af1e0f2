"""The server's secret, made by `init`, a bot's token and a database's password: files, never in a command line.

The secret's file has a line for each rotation, the newest first. The last line is what `init` wrote.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inbox_server.identity.keyed_hash import SECRET_BYTES, KeyedHash
from inbox_server.identity.layer import Layers, layers_of
from inbox_server.synced_files import replace_file, write_new_file

CREDENTIAL_NAME: Final = "inbox-secret"
MATRIX_CREDENTIAL: Final = "inbox-matrix-token"
DATABASE_CREDENTIAL: Final = "inbox-database-password"
_MISSING: Final = (
    "`inbox-server init` writes one for a new server, and a server with a database needs its own back:"
    " docs/troubleshooting.md, The secret is lost"
)


class BadSecret(Exception):
    """The secret file cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The first secret, 32 bytes, which keys every hash, and the layers of those after it."""

    first: bytes = field(repr=False)
    layers: Layers

    def hashes(self) -> KeyedHash:
        return KeyedHash(self.first)


def read_secret(path: Path, environment: Mapping[str, str] = os.environ) -> Secret:
    """The secret, from a systemd credential if there is one, else from `path`. Raises `BadSecret`."""
    lines = _read_private(path, CREDENTIAL_NAME, _MISSING, environment).split("\n")
    try:
        *later, first = (bytes.fromhex(line) for line in lines)
    except ValueError:
        later, first = [], b""
    if any(len(secret) != SECRET_BYTES for secret in (*later, first)):
        raise BadSecret(
            f"{path}: must hold {2 * SECRET_BYTES} hex characters, as `inbox-server init` writes them, and a line of as"
            " many for each rotation"
        )
    if len({first, *later}) <= len(later):
        raise BadSecret(f"{path}: has the same line twice; delete the upper one")
    return Secret(first, layers_of(later))


def read_matrix_token(path: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The bot's access token, from a systemd credential if there is one, else from `path`. Raises `BadSecret`."""
    text = _read_private(path, MATRIX_CREDENTIAL, "put the bot's access token there", environment)
    if not re.fullmatch(r"[!-~]{1,2048}", text):
        raise BadSecret(f"{path}: must hold the bot's access token and nothing else, in visible ASCII characters")
    return text


def read_database_password(path: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """PostgreSQL's password, from a systemd credential if there is one, else from `path`; None without both.

    Raises `BadSecret`.
    """
    path = path or _credential(DATABASE_CREDENTIAL, environment)
    if path is None:
        return None
    text = _read_private(path, DATABASE_CREDENTIAL, "put the database's password there", environment)
    if not re.fullmatch(r"[ -~]{1,1024}", text):
        raise BadSecret(f"{path}: must hold the database's password in one line, in visible ASCII characters")
    return text


def _read_private(path: Path, credential_name: str, advice: str, environment: Mapping[str, str]) -> str:
    """A file that only its owner can read, or the systemd credential that takes its place."""
    credential = _credential(credential_name, environment)
    path = credential or path
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise BadSecret(f"{path}: there is no such file; {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSecret(f"{path}: cannot be read as text: {type(error).__name__}") from None
    if path != credential and mode & 0o077:
        raise BadSecret(f"{path}: others can read it; run: chmod 600 {path}")
    return text


def _credential(name: str, environment: Mapping[str, str]) -> Path | None:
    """The systemd credential of this name, if there is one."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / name if credentials else None
    return credential if credential and credential.exists() else None


def add_secret(path: Path, secret: bytes, environment: Mapping[str, str] = os.environ) -> None:
    """Put a newer secret before those in the file, which keeps them all, its mode and its owner.

    The file is the old one or the new one at any moment, whatever fails. Raises `BadSecret`.
    """
    if credential := _credential(CREDENTIAL_NAME, environment):
        raise BadSecret(f"{credential}: systemd's copy of the secret cannot be changed; run this outside the service")
    old = _read_private(path, CREDENTIAL_NAME, _MISSING, environment)
    try:
        replace_file(path.resolve(), f"{secret.hex()}\n{old}\n".encode())
    except OSError as error:
        raise BadSecret(f"{path}: cannot be replaced: {error.strerror}; it was left as it is") from error


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new secret file, mode 0600. Raises `FileExistsError`: a secret is never lost to another one."""
    write_new_file(path, f"{secret.hex()}\n".encode(), mode=0o600)
