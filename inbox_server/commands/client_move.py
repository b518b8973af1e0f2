"""`inbox-server client move`: to another server, with everything."""

import argparse

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.moving import Step
from inbox_server.commands.client_command import Output, add_command, origin, with_client
from inbox_server.commands.terminal import Commands


def add_move(commands: Commands) -> None:
    command = add_command(
        commands,
        "move",
        help="move an inbox to another server, and lose nothing",
        description="Claim the inbox at the new server with the old one's settings, publish a card that names it, close"
        " the old inbox, carry over what is unread and what was read, and delete the old one when nothing more comes."
        " Senders follow the card. If the move is cut off, repeat the same command: nothing is lost, and nothing that"
        " you read is unread again. A move takes at least half a minute, to wait for deliveries that are under way.",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--to", dest="new", metavar="URL", type=origin, help="the new inbox server")
    which.add_argument(
        "--abandon", action="store_true", help="stay where you are: cancel a move that has not yet published a card"
    )
    command.add_argument(
        "--from", dest="old", metavar="URL", type=origin, help="which inbox to leave, if the card names several"
    )
    command.add_argument("--invite", metavar="CODE", help="an invite code, if the new server requires one")
    command.set_defaults(run=_move)


def _move(options: argparse.Namespace) -> int:
    async def move(client: InboxClient, output: Output) -> int:
        def tell(step: Step) -> None:
            entries = "1 entry" if step.carried == 1 else f"{step.carried} entries"
            carried = f" ({entries})" if step.carried else ""
            output.progress(f"{step.text}{carried}", {"step": step.text, "carried": step.carried})

        if options.abandon:
            return await _abandon(client, output)
        async for step in client.move(options.new, old=options.old, invite=options.invite, on_wait=tell):
            tell(step)
        return 0

    return with_client(options, move)


async def _abandon(client: InboxClient, output: Output) -> int:
    move = await client.abandon_move()
    if move is None:
        output.tell("no move is under way", {"abandoned": None})
        return 0
    claimed = f"if an inbox was claimed at {move.new}, it stays: inbox-server client forget --inbox {move.new} --yes"
    output.tell(f"the move to {move.new} is abandoned; {claimed}", {"abandoned": move.new, "inbox": move.old})
    return 0
