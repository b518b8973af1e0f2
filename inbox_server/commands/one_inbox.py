"""`inbox-server suspend`, `resume`, `quota` and `forget`: what an operator does to one inbox, by address."""

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from inbox_server.commands import exit_codes
from inbox_server.commands.check_report import add_json
from inbox_server.commands.on_server import OnServer, inbox_address, on_server
from inbox_server.commands.settings_text import size_text
from inbox_server.commands.terminal import Commands, add_config, complain, counted, tell, whole

_NONE: Final = "There is no inbox with this address here."


def add_suspend(commands: Commands) -> None:
    command = _add(
        commands,
        "suspend",
        "let nobody deliver to an inbox",
        "Let nobody deliver to the inbox of this address, and refuse a claim of it. To senders it looks like an inbox"
        " whose owner accepts nobody. Nothing in it is lost: its owner is told, can read, and can move to another"
        " server. It stays so, also after the inbox is deleted, until `resume`.",
    )
    command.set_defaults(run=_suspend)


def add_resume(commands: Commands) -> None:
    description = "Take `suspend` back: the owner's own settings decide again."
    command = _add(commands, "resume", "take `suspend` back", description)
    command.set_defaults(run=_resume)


def add_quota(commands: Commands) -> None:
    command = _add(
        commands,
        "quota",
        "show or change how much one inbox may hold",
        "Show how much the inbox of this address may hold, or give it a quota of its own. If that is less than it holds"
        " already, nothing is lost, and nothing more is taken until enough was read.",
    )
    command.add_argument("--entries", type=whole(1, 10_000_000), metavar="N", help="unread entries")
    command.add_argument("--bytes", type=whole(1024, 1 << 40), metavar="N", help="bytes of unread entries")
    command.add_argument("--default", action="store_true", help="back to the configuration's limits")
    command.set_defaults(run=_quota, complain=command.error)


def add_forget(commands: Commands) -> None:
    command = _add(
        commands,
        "forget",
        "delete an inbox and everything in it",
        "Delete the inbox of this address, with all that is unread. This cannot be undone. Its owner may claim a new"
        " one, unless the address is suspended.",
    )
    command.add_argument("--yes", action="store_true", help="delete it; without this, only say what would be deleted")
    command.set_defaults(run=_forget)


def _add(commands: Commands, name: str, help: str, description: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=description, epilog="It works on a running server, and on one that is stopped."
    )
    add_config(command)
    command.add_argument(
        "address", type=inbox_address, metavar="ADDRESS", help="the owner's app address, or app public key"
    )
    add_json(command)
    return command


def _suspend(options: argparse.Namespace) -> int:
    return _set_suspended(options, "suspend", "suspended: nobody can deliver to it", "was suspended already")


def _resume(options: argparse.Namespace) -> int:
    return _set_suspended(options, "resume", "resumed: its owner's settings decide again", "was not suspended")


def _set_suspended(options: argparse.Namespace, command: str, done: str, nothing: str) -> int:
    server = on_server(options)
    known = server.run(command, inbox=server.inbox(options.address))
    if options.json:
        tell(json.dumps(known))
        return 0
    tell(f"{options.address}: {done if known['changed'] else nothing}")
    if not known["exists"]:
        tell(f"{_NONE} Is the address right?" + (" It cannot be claimed now." if known["suspended"] else ""))
    return 0


def _quota(options: argparse.Namespace) -> int:
    if options.default and (options.entries or options.bytes):
        options.complain("use --default alone, or --entries and --bytes without it")
    server = on_server(options)
    inbox = server.inbox(options.address)
    known = server.run("inbox", inbox=inbox)
    if known["exists"] and (options.default or options.entries or options.bytes):
        entries = None if options.default else options.entries or known["most_entries"]
        size = None if options.default else options.bytes or known["most_bytes"]
        server.run("quota", inbox=inbox, entries=entries, bytes=size)
        known = server.run("inbox", inbox=inbox)
    if options.json:
        tell(json.dumps(known))
    elif known["exists"]:
        tell(_quota_text(server, known))
    else:
        complain(f"{_NONE} Nothing was done.")
    return 0 if known["exists"] else exit_codes.FAILED


def _quota_text(server: OnServer, known: Mapping[str, Any]) -> str:
    def most(own: int | None, of_all: int, write: Any) -> str:
        return f"{write(of_all)} (as all inboxes)" if own is None else f"{write(own)} (its own quota)"

    entries = most(known["most_entries"], server.config.inbox_entries, "{:,}".format)
    size = most(known["most_bytes"], server.config.inbox_bytes, size_text)
    return f"unread: {known['unread']:,} of {entries}\nsize: {size_text(known['bytes'])} of {size}"


def _forget(options: argparse.Namespace) -> int:
    server = on_server(options)
    inbox = server.inbox(options.address)
    known = server.run("inbox", inbox=inbox)
    deleted = bool(options.yes and server.run("forget", inbox=inbox)["deleted"])
    unread = counted(known["unread"], "unread entry", "unread entries")
    if options.json:
        tell(json.dumps({**known, "deleted": deleted}))
    elif deleted:
        tell(f"deleted the inbox of {options.address}, with {unread}")
        if not known["suspended"]:
            tell("Its owner may claim a new one. To refuse that, suspend the address.")
    elif known["exists"]:
        complain(f"Nothing was deleted. The inbox of {options.address} has {unread}: to delete it, add --yes.")
    else:
        complain(f"{_NONE} Nothing was done.")
    return 0 if deleted else exit_codes.FAILED
