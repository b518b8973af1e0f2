"""`inbox-server drain` and `inbox-server vacuum`: what an operator does to the whole server."""

import argparse
import json

from inbox_server.commands.check_report import add_json
from inbox_server.commands.on_server import on_server
from inbox_server.commands.settings_text import size_text
from inbox_server.commands.terminal import Commands, add_config, counted, tell


def add_drain(commands: Commands) -> None:
    command = commands.add_parser(
        "drain",
        help="take nothing new, so that owners can move away",
        description="Refuse all deliveries and claims from now on, also after a restart. Senders keep what they could"
        " not deliver, and repeat it. Owners read, acknowledge and move to other servers. The capability document says"
        " that the server is draining.",
        epilog="It works on a running server, and on one that is stopped.",
    )
    add_config(command)
    command.add_argument("--end", action="store_true", help="take deliveries and claims again")
    add_json(command)
    command.set_defaults(run=_drain)


def add_vacuum(commands: Commands) -> None:
    command = commands.add_parser(
        "vacuum",
        help="make the database file smaller",
        description="Give the room of entries that are gone back to the file system, in small steps: a running server"
        " goes on working. You may stop it with Ctrl-C, and run it again.",
        epilog="It works on a running server, and on one that is stopped.",
    )
    add_config(command)
    add_json(command)
    command.set_defaults(run=_vacuum)


def _drain(options: argparse.Namespace) -> int:
    server = on_server(options)
    changed = server.run("drain", on=not options.end)["changed"]
    shown = server.run("inboxes")
    inboxes, unread = (sum(each[of] for each in shown["classes"]) for of in ("inboxes", "unread"))
    if options.json:
        tell(json.dumps({"draining": shown["draining"], "changed": changed, "inboxes": inboxes, "unread": unread}))
        return 0
    if options.end:
        tell("deliveries and claims are taken again" if changed else "it was not draining")
        return 0
    tell(
        "draining: no delivery and no claim is taken until `inbox-server drain --end`"
        + ("" if changed else ", as before")
    )
    left = f"{counted(inboxes, 'inbox', 'inboxes')} with {counted(unread, 'unread entry', 'unread entries')}"
    tell(f"Still here: {left}. Tell the owners to move; `inbox-server inboxes` shows how many are left.")
    return 0


def _vacuum(options: argparse.Namespace) -> int:
    server = on_server(options)
    freed = server.run("vacuum")["freed_bytes"]
    left = server.run("inboxes")["file_bytes"]
    if options.json:
        tell(json.dumps({"freed_bytes": freed, "file_bytes": left}))
        return 0
    tell(f"gave {size_text(freed)} back; the database has {size_text(left)} now")
    return 0
