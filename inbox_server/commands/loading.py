"""Which commands there are, and where: a module is loaded when its command is asked for, with the libraries it brings.

Loading all of them takes 7 MB and a third of the time of a start, and `serve` keeps what it loads.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from inbox_server.commands.terminal import Commands

_SERVER_LIBRARIES: Final = ("aiosqlite", "http_ece", "prometheus_client")  # a client's installation lacks them
_SERVER: Final = {
    "demo": ("dev", "add_demo"),
    "init": ("init", "add_init"),
    "serve": ("serve", "add_serve"),
    "invite": ("invite", "add_invites"),
    "inboxes": ("inboxes", "add_inboxes"),
    "suspend": ("one_inbox", "add_suspend"),
    "resume": ("one_inbox", "add_resume"),
    "quota": ("one_inbox", "add_quota"),
    "forget": ("one_inbox", "add_forget"),
    "drain": ("whole_server", "add_drain"),
    "vacuum": ("whole_server", "add_vacuum"),
    "backup": ("backup", "add_backup"),
    "restore": ("backup", "add_restore"),
    "after-restore": ("after_restore", "add_after_restore"),
    "migrate-store": ("migrate_store", "add_migrate_store"),
    "shard": ("shard", "add_shards"),
    "rotate-secret": ("rotate_secret", "add_rotate_secret"),
    "doctor": ("doctor", "add_doctor"),
    "dev": ("dev", "add_dev"),
}
_CLIENT: Final = {
    "ping": ("ping", "add_ping"),
    "conformance": ("conformance", "add_conformance"),
    "client": ("client", "add_client"),
}
HAS_SERVER: Final = all(find_spec(library) for library in _SERVER_LIBRARIES)
_COMMANDS: Final = _SERVER | _CLIENT if HAS_SERVER else _CLIENT


def names_for(arguments: Iterable[str]) -> tuple[str, ...]:
    """The command that is asked for; all commands, in the order of the help, when that is no command."""
    first = next(iter(arguments), "")
    return (first,) if first in _COMMANDS else tuple(_COMMANDS)


def adders(names: Iterable[str]) -> list[Callable[[Commands], None]]:
    """What adds each of these commands to the parser."""
    places = [_COMMANDS[name] for name in names]
    return [getattr(import_module(f"inbox_server.commands.{module}"), function) for module, function in places]
