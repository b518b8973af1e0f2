"""`inbox-server client forget`: taking inboxes off the card, and deleting them."""

import argparse

from inbox_server.client.inbox_client import InboxClient
from inbox_server.commands.client_command import Output, UsageError, add_command, exit_code, origin, with_client
from inbox_server.commands.client_publish import catch_up, settled
from inbox_server.commands.terminal import Commands


def add_forget(commands: Commands) -> None:
    command = add_command(
        commands,
        "forget",
        help="delete inboxes, with everything in them",
        description="Take inboxes off your card and delete them at their servers, with what is unread in them."
        " The profile and its key stay.",
    )
    command.add_argument(
        "--inbox",
        dest="inboxes",
        metavar="URL",
        type=origin,
        action="append",
        help="which inbox (repeatable; default: all on your card)",
    )
    command.add_argument(
        "--yes", action="store_true", required=True, help="required, because what is unread there is lost"
    )
    command.set_defaults(run=_forget)


def _forget(options: argparse.Namespace) -> int:
    async def forget(client: InboxClient, output: Output) -> int:
        settled(client)
        if await catch_up(client, output) and not options.inboxes:
            raise UsageError(
                "nothing was deleted; repeat the command if you mean these inboxes, or name some with --inbox"
            )
        inboxes = tuple(options.inboxes) if options.inboxes else None
        outcomes = await client.forget(inboxes=inboxes)
        output.outcomes(outcomes, "deleted", f"when it is up: {output.command('forget', '--yes --inbox URL')}")
        if not outcomes:
            raise UsageError("the card names no inbox")
        return exit_code(outcomes)

    return with_client(options, forget)
