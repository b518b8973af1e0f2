"""`inbox-server doctor`: is this deployment in order, as seen from inside?"""

import argparse
import time
from typing import Final

from inbox_server.checks.inside import check_deployment
from inbox_server.commands.check_report import add_json, conclude, findings_for
from inbox_server.commands.terminal import Commands, add_config, app_origin, bns_name, run, whole

_DEFAULT_SECONDS: Final = 5

_EPILOG: Final = """
each check is a line: ok, warning, FAILED or skipped, what was seen, and what to do about it.
  configuration        every mistake at once
  secret               there, of the right shape, mode 0600, outside the data directory
  data directory       closed to others
  database             of this secret and version, and whole (PRAGMA quick_check, for at most 10 seconds)
  disk                 room beyond the reserve below which deliveries are refused
  server, listener, ready   whether it runs, answers for public_url, and can write; none of them without a server
  name service, clock  each service answers as the server asks it; the time is not far from theirs
  owner, zone file, profile, bucket, key   with --name and --app: each link of that name's chain

it works beside a running server and without one, and changes nothing. While it reads the database, the bytes of what is
acknowledged stay in the files for up to 10 seconds. Run it as the server's own user, or as root.
names are asked of the services in the configuration, and of nobody else. No secret is ever printed.

what apps meet through the proxy is not seen from inside: `inbox-server ping` sees that, from another machine.

exit code: 0 nothing failed, 1 something did, 2 asked wrongly.
"""


def add_doctor(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor",
        help="check a deployment from inside",
        description="Check this deployment, and say in words what is wrong. Nothing is changed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(command)
    command.add_argument("--name", type=bns_name, metavar="NAME", help="a name to look up, such as alice.id")
    command.add_argument(
        "--app", type=app_origin, metavar="ORIGIN", help="the app whose bucket and key the name leads to"
    )
    command.add_argument(
        "--seconds",
        type=whole(1, 60),
        default=_DEFAULT_SECONDS,
        help=f"how long to wait for any one answer (default: {_DEFAULT_SECONDS})",
    )
    add_json(command)
    command.set_defaults(run=_doctor, complain=command.error)


def _doctor(options: argparse.Namespace) -> int:
    if bool(options.name) != bool(options.app):
        options.complain("--name and --app go together: a name has another key for each app")
    findings = findings_for(options)
    run(
        check_deployment(
            options.config,
            findings,
            name=options.name,
            app=options.app,
            seconds=options.seconds,
            clock=time.time,
        )
    )
    return conclude(findings, options, str(options.config))
