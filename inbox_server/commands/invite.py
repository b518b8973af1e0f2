"""`inbox-server invite`: codes that let somebody claim an inbox."""

import argparse
import json
import secrets
from typing import Final

from inbox_server.clock import DAY_SECONDS, UnixTime, system_clock
from inbox_server.commands.check_report import add_json
from inbox_server.commands.terminal import Commands, add_config, complain, run, tell, whole
from inbox_server.config.file import load_config
from inbox_server.config.secret import read_secret
from inbox_server.store.sqlite.opening import add_invite

_INVITE_BYTES: Final = 16


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


def _invite_new(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    hashes = secret.hashes()
    if config.registration != "invite":
        complain(f'note: registration.mode is "{config.registration}", so the codes are useless until it is "invite"')
    expires = UnixTime(system_clock() + options.days * DAY_SECONDS)
    codes = [secrets.token_urlsafe(_INVITE_BYTES) for _ in range(options.count)]

    async def add() -> None:
        for code in codes:
            await add_invite(
                config.data_dir,
                hashes.invite(code),
                expires=expires,
                check_value=hashes.check_value(),
                layers=secret.layers,
            )

    run(add())
    if options.json:
        tell(json.dumps({"codes": codes, "expires": expires}))
        return 0
    for code in codes:
        tell(code)
    return 0
