"""`inbox-server doctor`: is this deployment in order, as seen from inside?"""

import argparse
import time
from typing import Final

from inbox_server.checks.inside import check_deployment
from inbox_server.commands.check_report import add_json, conclude, findings_for
from inbox_server.commands.terminal import Commands, add_config, app_origin, bns_name, run, whole

_DEFAULT_SECONDS: Final = 5

_EPILOG: Final = """
each check prints a line: ok, warning, FAILED or skipped, what was seen, and what to do about it.
  configuration        all errors are listed at once
  secret               it exists, has the right format and mode 0600, and is outside the data directory
  data directory       others cannot open it
  database             it has this secret and version, was not moved away, and is intact (SQLite's quick_check,
                       for at most 10 seconds)
  disk                 there is more space than the reserve below which deliveries are refused
  database rights, settings, log, connections, clock, notifications, standby, day keys
                       with PostgreSQL, in place of the disk: what its role may do, whether what is answered is on disk
                       and what is erased is kept nowhere else, and whether this host has the keys of the others
  shards               with store.urls: each is in one of the clusters, and none is on its way to another
  server, listener, ready   the server runs, answers for public_url, and can write; left out if no server runs
  name service, clock  each service answers the server's requests; this clock is not far from theirs
  matrix               the home server accepts the bot's token, if there is a bot
  owner, zone file, profile, bucket, key   with --name and --app: each link of that name's chain

doctor works whether a server is running or not, and changes nothing. While it reads an SQLite database, nothing
acknowledged is blanked in the files, for up to 10 seconds. Run it as the server's own user, or as root.
it asks only the name services in the configuration. It never prints a secret.

doctor cannot see what apps meet at the proxy. Use `inbox-server ping` for that, on another machine.

exit codes: 0 nothing failed, 1 something failed, 2 usage error.
"""


def add_doctor(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor",
        help="check a deployment from inside",
        description="Check this deployment, and say what is wrong. Nothing is changed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(command)
    command.add_argument("--name", type=bns_name, metavar="NAME", help="a name to look up, such as alice.id")
    command.add_argument(
        "--app", type=app_origin, metavar="ORIGIN", help="the app for which the name leads to a bucket and a key"
    )
    command.add_argument(
        "--seconds",
        type=whole(1, 60),
        default=_DEFAULT_SECONDS,
        help=f"how long to wait for each answer (default: {_DEFAULT_SECONDS})",
    )
    add_json(command)
    command.set_defaults(run=_doctor, complain=command.error)


def _doctor(options: argparse.Namespace) -> int:
    if bool(options.name) != bool(options.app):
        options.complain("use --name and --app together: a name has a different key for each app")
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
