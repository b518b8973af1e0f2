"""`inbox-server invite`: codes that let somebody claim an inbox."""

import argparse
import json
import re
import secrets
from datetime import UTC, datetime
from typing import Final

from inbox_server.clock import DAY_SECONDS, UnixTime, system_clock
from inbox_server.commands import exit_codes
from inbox_server.commands.check_report import add_json
from inbox_server.commands.on_server import on_server
from inbox_server.commands.terminal import Commands, add_config, complain, run, tell, whole
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.store.choosing import add_invite

_INVITE_BYTES: Final = 16
_HANDLE: Final = 8  # characters of a code's hash


def add_invites(commands: Commands) -> None:
    command = commands.add_parser("invite", help="let somebody claim an inbox", description="One-time invite codes.")
    invites = command.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = invites.add_parser(
        "new",
        help="make invite codes",
        description='Print one-time codes for `registration.mode = "invite"`. Only their hashes are kept.'
        " Works while the server runs.",
    )
    add_config(command)
    command.add_argument("--count", type=whole(1, 1000), default=1, help="how many (default: 1)")
    command.add_argument("--days", type=whole(1, 3650), default=7, help="for how many days they are valid (default: 7)")
    add_json(command)
    command.set_defaults(run=_invite_new)
    command = invites.add_parser(
        "list",
        help="list unused invite codes",
        description="List the codes that nobody has used yet: when each expires, and the handle by which it can be"
        " revoked. The codes themselves are not kept.",
    )
    add_config(command)
    add_json(command)
    command.set_defaults(run=_invite_list)
    command = invites.add_parser(
        "revoke",
        help="make an invite code useless",
        description="Make a code useless that nobody has used yet. Inboxes that were claimed with others stay.",
    )
    add_config(command)
    command.add_argument("code", type=_handle_or_code, metavar="HANDLE", help="as `invite list` shows it; or the code")
    add_json(command)
    command.set_defaults(run=_invite_revoke)


def _handle_or_code(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{4,64}", text):
        raise argparse.ArgumentTypeError("must be a handle as `invite list` shows it, or a code")
    return text


def _invite_new(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    hashes = secret.hashes()
    if config.registration != "invite":
        complain(f'note: registration.mode is "{config.registration}", so the codes are useless until it is "invite"')
    expires = UnixTime(system_clock() + options.days * DAY_SECONDS)
    codes = [secrets.token_hex(_INVITE_BYTES) for _ in range(options.count)]

    async def add() -> None:
        for code in codes:
            await add_invite(config, secret, hashes.invite(code), expires=expires)

    run(add())
    if options.json:
        tell(json.dumps({"codes": codes, "expires": expires}))
        return 0
    for code in codes:
        tell(code)
    return 0


def _invite_list(options: argparse.Namespace) -> int:
    listed = on_server(options).run("invites")["invites"]
    invites = [{"handle": each["code"][:_HANDLE], "expires": each["expires"]} for each in listed]
    if options.json:
        tell(json.dumps({"invites": invites}))
        return 0
    for each in invites:
        tell(f"{each['handle']}  until {datetime.fromtimestamp(each['expires'], UTC):%Y-%m-%d %H:%M} UTC")
    if not invites:
        tell("There is no unused code. `inbox-server invite new` makes one.")
    return 0


def _invite_revoke(options: argparse.Namespace) -> int:
    server = on_server(options)
    found = server.run("revoke-invite", handle=options.code.lower())["found"]
    if not found:  # then it is a code, or nothing
        found = server.run("revoke-invite", handle=server.hashes.invite(options.code).hex())["found"]
    if options.json:
        tell(json.dumps({"revoked": found == 1}))
    elif found == 1:
        tell("revoked: nobody can use this code any more")
    elif found:
        complain(f"Nothing was revoked: {found} codes begin like that. Give the whole handle from `invite list`.")
    else:
        complain("Nothing was revoked: there is no such unused code. `inbox-server invite list` shows them.")
    return 0 if found == 1 else exit_codes.FAILED
