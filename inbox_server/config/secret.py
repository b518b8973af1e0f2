"""The server's secret, made once by `init`, and a bot's token: files, never in the environment or a command line."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inbox_server.identity.keyed_hash import SECRET_BYTES
from inbox_server.synced_files import write_new_file

CREDENTIAL_NAME: Final = "inbox-secret"
MATRIX_CREDENTIAL: Final = "inbox-matrix-token"


class BadSecret(Exception):
    """The secret file cannot be used; the message says why and what to do."""


def read_secret(path: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """The 32-byte secret, from a systemd credential if there is one, else from `path`. Raises `BadSecret`."""
    text = _read_private(path, CREDENTIAL_NAME, "`inbox-server init` writes one", environment)
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise BadSecret(f"{path}: must hold {2 * SECRET_BYTES} hex characters, as `inbox-server init` writes them")
    return secret


def read_matrix_token(path: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The bot's access token, from a systemd credential if there is one, else from `path`. Raises `BadSecret`."""
    text = _read_private(path, MATRIX_CREDENTIAL, "put the bot's access token there", environment)
    if not re.fullmatch(r"[!-~]{1,2048}", text):
        raise BadSecret(f"{path}: must hold the bot's access token and nothing else, in visible ASCII characters")
    return text


def _read_private(path: Path, credential_name: str, advice: str, environment: Mapping[str, str]) -> str:
    """A file that only its owner can read, or the systemd credential that takes its place."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / credential_name if credentials else None
    if credential and credential.exists():
        path = credential
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


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new secret file, mode 0600. Raises `FileExistsError`: a secret is never overwritten."""
    write_new_file(path, f"{secret.hex()}\n".encode(), mode=0o600)
