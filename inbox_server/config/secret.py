"""The server's secret: made once by `init`, read at every start, never in the environment or a command line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inbox_server.identity.keyed_hash import SECRET_BYTES
from inbox_server.synced_files import write_new_file

CREDENTIAL_NAME: Final = "inbox-secret"


class BadSecret(Exception):
    """The secret file cannot be used; the message says why and what to do."""


def read_secret(path: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """The 32-byte secret, from a systemd credential if there is one, else from `path`. Raises `BadSecret`."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / CREDENTIAL_NAME if credentials else None
    if credential and credential.exists():
        path = credential
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise BadSecret(f"{path}: there is no such file; `inbox-server init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSecret(f"{path}: cannot be read as text: {type(error).__name__}") from None
    if path != credential and mode & 0o077:
        raise BadSecret(f"{path}: others can read it; run: chmod 600 {path}")
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise BadSecret(f"{path}: must hold {2 * SECRET_BYTES} hex characters, as `inbox-server init` writes them")
    return secret


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new secret file, mode 0600. Raises `FileExistsError`: a secret is never overwritten."""
    write_new_file(path, f"{secret.hex()}\n".encode(), mode=0o600)
