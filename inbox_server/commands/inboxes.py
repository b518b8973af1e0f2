"""`inbox-server inboxes`: how many inboxes there are, and how full they are."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from inbox_server.commands.check_report import add_json
from inbox_server.commands.on_server import on_server
from inbox_server.commands.settings_text import size_text
from inbox_server.commands.terminal import Commands, add_config, counted, tell
from inbox_server.store.operating import NEARLY_FULL_PERCENT


def add_inboxes(commands: Commands) -> None:
    command = commands.add_parser(
        "inboxes",
        help="count the inboxes, by how full they are",
        description="Count all inboxes by how many unread entries they have, of a running server or of one that is"
        " stopped. Nothing that it prints is about a single inbox.",
    )
    add_config(command)
    add_json(command)
    command.set_defaults(run=_inboxes)


def _inboxes(options: argparse.Namespace) -> int:
    shown = on_server(options).run("inboxes")
    tell(json.dumps(shown) if options.json else overview_text(shown))
    return 0


def overview_text(shown: Mapping[str, Any]) -> str:
    """A table, and a line for everything else that an operator may want to know."""
    classes: Sequence[Mapping[str, int]] = shown["classes"]
    inboxes = sum(each["inboxes"] for each in classes)
    rows = [("unread entries", "inboxes", "entries", "size")]
    for each, name in zip(classes, _names([each["least"] for each in classes]), strict=True):
        rows.append((name, f"{each['inboxes']:,}", f"{each['unread']:,}", size_text(each["bytes"])))
    lines = [
        f"{counted(inboxes, 'inbox', 'inboxes')}, {counted(shown['read'], 'read entry', 'read entries')} remembered",
        *(f"   {name:18} {count:>12} {entries:>14} {size:>12}" for name, count, entries, size in rows),
        f"{NEARLY_FULL_PERCENT} % full or more: {shown['nearly_full']:,}",
        f"with a quota of their own: {shown['own_quotas']:,}",
        f"suspended addresses: {shown['suspended']:,}",
        f"the database has {size_text(shown['file_bytes'])}, and {size_text(shown['free_bytes'])} of that are free:"
        " `inbox-server vacuum` gives back what can be given",
    ]
    if shown["draining"]:
        lines.append("draining: no delivery and no claim is taken until `inbox-server drain --end`")
    return "\n".join(lines)


def _names(begins: Sequence[int]) -> list[str]:
    ends = [begin - 1 for begin in begins[1:]]
    names = [f"{begin:,} to {end:,}" if end > begin else f"{begin:,}" for begin, end in zip(begins, ends, strict=False)]
    return [*names, f"{begins[-1]:,} and more"]
