"""Running an operator's command: by the server that runs on the data directory, or on its database if none does.

PostgreSQL takes it directly: servers that run see what changed there, of a drain within two seconds.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.checks.asking import Answer, NoAnswer, open_server
from inbox_server.clock import system_clock
from inbox_server.commands.terminal import run
from inbox_server.config.config import Config
from inbox_server.config.file import load_config
from inbox_server.config.secret import BadSecret, Secret, read_secret
from inbox_server.errors import CommandFailed, Refused
from inbox_server.http.operator_socket import OPERATOR_PATH, SOCKET_NAME
from inbox_server.identity.addresses import is_app_address
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.keys import NotAKey, parse_key
from inbox_server.inboxes.operator_commands import OperatorCommands
from inbox_server.store.choosing import open_store
from inbox_server.store.sqlite.inspect import is_served
from inbox_server.store.sqlite.opening import DATABASE_NAME

_SECONDS: Final = 3600  # a large database is made smaller
_AS_THE_SERVER: Final = "Run this as the server's own user, or as root."


@dataclass(frozen=True, slots=True)
class OnServer:
    """A deployment, as its configuration describes it."""

    config: Config
    secret: Secret

    @property
    def hashes(self) -> KeyedHash:
        return self.secret.hashes()

    def inbox(self, address: str) -> str:
        """The keyed hash by which the server knows an address, in hex."""
        return self.hashes.inbox(address).hex()

    def run(self, command: str, **asked: Any) -> Mapping[str, Any]:
        """What became of it. Raises `CommandFailed`."""
        done: dict[str, Any] = {}

        async def work() -> None:
            done.update(await (self._ask(command, asked) if self._is_served() else self._open(command, asked)))

        run(work())
        return done

    def _is_served(self) -> bool:
        if self.config.store_url:
            return False
        folder = self.config.data_dir
        try:
            if is_served(folder):
                return True
            if (folder / DATABASE_NAME).exists():
                return False
        except OSError as error:
            raise CommandFailed(f"{folder} cannot be opened: {error.strerror}. {_AS_THE_SERVER}") from None
        raise CommandFailed(
            f"There is no database in {folder}. Is server.data_dir right? `inbox-server serve` makes one."
        )

    async def _open(self, command: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        opening = open_store(self.config, check_value=self.hashes.check_value(), layers=self.secret.layers)
        async with opening as store:
            try:
                return await OperatorCommands(store.operating, system_clock).run(command, asked)
            except Refused as refusal:
                raise CommandFailed(refusal.detail) from None

    async def _ask(self, command: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        socket = self.config.data_dir / SOCKET_NAME
        if not socket.exists():
            raise CommandFailed(
                f"A server runs on {self.config.data_dir}, but there is no {socket}. Is it just starting, or an older"
                " version? Restart it. If its log says `no operator's commands`, stop it, and run this again."
            )
        async with open_server("http://localhost", _SECONDS, time.time, socket=socket) as server:
            try:
                answer = await server.ask(
                    "POST", OPERATOR_PATH + command, token=self.hashes.operator_token(), body=json.dumps(asked).encode()
                )
            except NoAnswer:
                raise CommandFailed(
                    f"The server that listens at {socket} did not answer. It may be starting or stopping: try again."
                ) from None
        return self._outcome(answer)

    def _outcome(self, answer: Answer) -> Mapping[str, Any]:
        if answer.status == 200:
            return answer.members
        if answer.status == 401:
            raise CommandFailed(
                f"The server that runs was started with another secret than the one in {self.config.secret_file}."
                " Name the configuration that it was started with, or restart it."
            )
        if answer.code == "not_found":
            raise CommandFailed("The server that runs is of an older version. Restart it.")
        raise CommandFailed(f"The server could not do it: {answer.members.get('detail', answer.status)}")


def on_server(options: argparse.Namespace) -> OnServer:
    """Raises `BadConfig` or `BadSecret`."""
    config = load_config(options.config)
    try:
        return OnServer(config, read_secret(config.secret_file))
    except BadSecret as error:
        if isinstance(error.__context__, PermissionError):
            raise BadSecret(f"{error}. {_AS_THE_SERVER}") from None
        raise


def inbox_address(text: str) -> str:
    """An owner's address, from that or from the key."""
    if is_app_address(text):
        return text
    try:
        return parse_key(text).address
    except NotAKey:
        hint = "; it is a name, and the server keeps none: ask the owner, or see the last part of the bucket's URL"
        raise argparse.ArgumentTypeError(
            f"must be the app address or the app public key of the inbox's owner{hint if '.' in text else ''}"
        ) from None
