"""`inbox-server client`: the protocol's client, for people and scripts."""

from inbox_server.commands.client_audit import add_audit, add_verify_receipt
from inbox_server.commands.client_command import EXIT_CODES, ClientParser
from inbox_server.commands.client_forget import add_forget
from inbox_server.commands.client_keygen import add_keygen
from inbox_server.commands.client_messages import add_ack, add_inbox, add_read, add_send
from inbox_server.commands.client_move import add_move
from inbox_server.commands.client_publish import add_publish
from inbox_server.commands.client_push import add_push
from inbox_server.commands.client_watch import add_watch
from inbox_server.commands.terminal import Commands


def add_client(commands: Commands) -> None:
    command = commands.add_parser(
        "client",
        help="send and read messages: keygen, publish, send, inbox, read, ack, watch, audit, verify-receipt, push,"
        " move, forget",
        description="One identity of one app: first `keygen`, then `publish`, then `send` and `watch`.",
        epilog=EXIT_CODES,
    )
    of_client = command.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=ClientParser)
    for add in (
        add_keygen,
        add_publish,
        add_send,
        add_inbox,
        add_read,
        add_ack,
        add_watch,
        add_audit,
        add_verify_receipt,
        add_push,
        add_move,
        add_forget,
    ):
        add(of_client)
