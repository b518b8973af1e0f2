"""`inbox-server ping`: is a server good for apps, as seen from here?"""

import argparse
import asyncio
import secrets
import signal
import time
from typing import Final

from inbox_server.checks.outside import check_server
from inbox_server.commands import exit_codes
from inbox_server.commands.check_report import add_json, conclude, findings_for
from inbox_server.commands.terminal import Commands, run, whole
from inbox_server.identity.names import is_origin
from inbox_server.protocol.feed_json import MAX_WAIT_SECONDS

_DEFAULT_SECONDS: Final = 5
_TERMINATED_EXIT: Final = 128 + signal.SIGTERM

_EPILOG: Final = """
each check prints a line: ok, warning, FAILED or skipped, what was seen, and what to do about it.
  origin         the URL is an origin, and https unless it is on this machine
  reachable      name, connection, certificate; an inbox server answers, not a redirect or another site
  capabilities   its document and protocol version; audience: the server calls itself by this URL
  authorization  a token arrives; no proxy removes it
  clock          it differs from this machine's by no more than tokens allow
  cors, preflight, caching   what browsers need on answers and before requests; no proxy caches anything private
  claim, deliver, events, waiting, list, acknowledge, held, clean-up
                 a throw-away inbox is claimed, gets a message from a throw-away key, and is deleted;
                 the event stream must report it while it is open, which proxies that buffer or compress prevent;
                 an answer is held for 55 seconds, which some proxies cut (--quick leaves this out)

ping touches nobody else's inbox. The claim counts as one of the hour's new inboxes (registration.open_per_hour), and an
invite is used up. If a server accepts only listed identities, or only names, ping skips these last steps.

run it on another machine, not on the server: there it meets the same proxy, firewall and name as apps do. If the
certificate is from your own authority, set SSL_CERT_FILE. Proxies in the environment are not used.

whether the server follows every rule of the protocol, `inbox-server conformance` tells.

exit codes: 0 nothing failed, 1 something failed, 2 usage error (or the URL is no origin). ping never prints a token.
"""


def add_ping(commands: Commands) -> None:
    command = commands.add_parser(
        "ping",
        help="check a server from outside, end to end",
        description="Check an inbox server as an app sees it, and say what is wrong.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("url", metavar="URL", help="the server's public origin, such as https://inbox.example")
    command.add_argument("--invite", metavar="CODE", help="a code for a server that requires invites; it is used up")
    command.add_argument(
        "--seconds",
        type=whole(1, 60),
        default=_DEFAULT_SECONDS,
        help=f"how long to wait for each answer (default: {_DEFAULT_SECONDS})",
    )
    command.add_argument("--quick", action="store_true", help="leave out the check that holds an answer for a minute")
    add_json(command)
    command.set_defaults(run=_ping)


def _ping(options: argparse.Namespace) -> int:
    findings = findings_for(options)

    async def ping() -> None:
        checking = asyncio.create_task(
            check_server(
                options.url,
                findings,
                invite=options.invite,
                seconds=options.seconds,
                hold_seconds=0 if options.quick else MAX_WAIT_SECONDS,
                clock=time.time,
                random_bytes=secrets.token_bytes,
            )
        )
        # Ctrl-C cancels without this. In both cases the throw-away inbox is deleted before the command ends.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, checking.cancel)
        await checking

    try:
        run(ping())
    except asyncio.CancelledError:
        return _TERMINATED_EXIT
    exit_code = conclude(findings, options, options.url)
    return exit_code if is_origin(options.url) else exit_codes.USAGE
