"""`inbox-server shard`: which PostgreSQL cluster has which part of the inboxes, and moving a part to another one."""

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, counted, run, tell, whole
from inbox_server.config.file import load_config
from inbox_server.errors import CommandFailed
from inbox_server.store.choosing import clusters_of, postgres


def add_shards(commands: Commands) -> None:
    command = commands.add_parser(
        "shard",
        help="move a part of the inboxes to another database",
        description="With several PostgreSQL clusters (store.urls), each of 256 shards of inboxes is in one of them.",
    )
    shards = command.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = shards.add_parser(
        "list",
        help="show which cluster has which shards",
        description="Show which shards each cluster has, how many inboxes they hold, and which are being moved.",
    )
    add_config(command)
    add_json(command, "a JSON list of the clusters")
    command.set_defaults(run=_list)
    command = shards.add_parser(
        "move",
        help="move shards to another cluster",
        description="Move shards, one after the other, while the servers run. The inboxes of the shard that is being"
        " moved answer 503 meanwhile, and senders and owners repeat; all others notice nothing. You may stop it at any"
        " time: the same command continues where it stopped.",
    )
    add_config(command)
    command.add_argument(
        "shards", type=_range, metavar="SHARDS", help="a number from 0 to 255, or a range such as 0-63"
    )
    command.add_argument("--to", type=whole(1, 256), required=True, metavar="N", help="the Nth cluster of store.urls")
    add_json(command, "one JSON object for each shard, when it is moved")
    command.set_defaults(run=_move)


def _range(text: str) -> range:
    found = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", text)
    shards = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
    if not shards or shards[-1] > 255:
        raise argparse.ArgumentTypeError("must be a number from 0 to 255, or a range such as 0-63")
    return shards


def _clusters(options: argparse.Namespace) -> list[Any]:
    config = load_config(options.config)
    if not config.store_urls:
        raise CommandFailed("store.urls names no clusters, so there are no shards: docs/postgresql.md, Shards.")
    return clusters_of(config)


def _list(options: argparse.Namespace) -> int:
    clusters = _clusters(options)
    found: list[Any] = []

    async def look() -> None:
        found.extend(await postgres("shard_moving").list_shards(clusters))

    run(look())
    if options.json:
        shown = [
            {"cluster": number, "shards": each.shards, "moving": each.moving, "inboxes": each.inboxes}
            for number, each in enumerate(found, 1)
        ]
        tell(json.dumps(shown))
        return 0
    for number, (cluster, each) in enumerate(zip(clusters, found, strict=True), 1):
        moving = f"; on their way to another one: {_ranges(each.moving)}" if each.moving else ""
        inboxes = counted(each.inboxes, "inbox", "inboxes")
        tell(f"{number}: {cluster.places()}: shards {_ranges(each.shards) or 'none'}, with {inboxes}{moving}")
    return 0


def _ranges(shards: Sequence[int]) -> str:
    """Such as `0-63, 70`."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and shard == parts[-1][-1] + 1:
            parts[-1].append(shard)
        else:
            parts.append([shard])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _move(options: argparse.Namespace) -> int:
    clusters = _clusters(options)
    if options.to > len(clusters):
        raise CommandFailed(
            f"store.urls has {counted(len(clusters), 'cluster', 'clusters')}, and no number {options.to}."
        )
    moving = postgres("shard_moving")

    async def move() -> None:
        for shard in options.shards:
            moved = await moving.move_shard(clusters, shard, options.to - 1, told=_quietly if options.json else tell)
            if options.json:
                tell(json.dumps({"shard": shard, "inboxes": moved.inboxes, "unread": moved.unread}))
                continue
            inboxes = counted(moved.inboxes, "inbox", "inboxes")
            tell(f"shard {shard} is in cluster {options.to}: {inboxes} moved, with {moved.unread} unread")

    run(move())
    return 0


def _quietly(_text: str) -> None:
    pass
