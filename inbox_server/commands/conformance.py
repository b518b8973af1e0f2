"""`inbox-server conformance`: does a server anywhere speak the protocol?"""

import argparse
import asyncio
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from inbox_server import __version__
from inbox_server.commands import exit_codes
from inbox_server.commands.terminal import Commands, complain, printable, run, tell, whole
from inbox_server.conformance.cases import Case, Result
from inbox_server.conformance.identities import BadNames, Identity, read_names
from inbox_server.conformance.report import as_json, as_junit, as_markdown
from inbox_server.conformance.run import CannotRun, Conditions, Report, check_url, run_suite
from inbox_server.conformance.suite import GROUPS, NoSuchCase, chosen

CONFORMS_EXIT: Final = 0
FAILED_EXIT: Final = 1
CANNOT_RUN_EXIT: Final = exit_codes.USAGE
_DEFAULT_SECONDS: Final = 10
_SHOWN: Final = {"passed": "passed", "failed": "FAILED", "not run": "not run"}
_TERMINATED_EXIT: Final = 128 + signal.SIGTERM

_EPILOG: Final = """
exit codes: 0 the server conforms, 1 a required case failed, 2 the suite could not run (or a usage error).

the suite claims a few inboxes with keys that it makes, and deletes them at the end, also after Ctrl-C. It touches no
other inbox, waits when the server says Retry-After, and takes a few minutes. What needs names is run only with --names:
give profiles of two names that you own (`client keygen --name`), for an app of the tests alone.
docs/conformance.md says how to use it in CI, and how to read the report.
"""


def add_conformance(commands: Commands) -> None:
    command = commands.add_parser(
        "conformance",
        help="check whether a server speaks the protocol, rule by rule",
        description="Run the conformance suite of the protocol, version 1, against any server, over HTTP alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("url", metavar="URL", nargs="?", help="the server's origin, such as https://inbox.example")
    command.add_argument(
        "--invite",
        metavar="CODE",
        dest="invites",
        action="append",
        default=[],
        help="a code for a server that requires invites; each claims one inbox (repeatable: 6 are enough)",
    )
    command.add_argument(
        "--names",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a client's profile with a name of yours, or what `inbox-server dev --json` printed (repeatable)",
    )
    command.add_argument("--only", metavar="GROUP", action="append", default=[], help="a group or a case (repeatable)")
    command.add_argument("--quick", action="store_true", help="leave out the cases that wait for a minute or more")
    command.add_argument("--list", action="store_true", help="list the cases and their rules, and run nothing")
    for option, what in (("json", "as JSON"), ("junit", "as JUnit XML"), ("report", "as Markdown, to publish")):
        command.add_argument(f"--{option}", metavar="FILE", type=Path, help=f"write the results {what}")
    command.add_argument(
        "--seconds",
        type=whole(1, 60),
        default=_DEFAULT_SECONDS,
        help=f"how long to wait for each answer (default: {_DEFAULT_SECONDS})",
    )
    command.set_defaults(run=_conformance)


def _conformance(options: argparse.Namespace) -> int:
    try:
        cases = chosen(options.only, quick=options.quick)
        if options.list:
            tell("\n".join(_listed(cases)))
            return CONFORMS_EXIT
        check_url(options.url)
        _check_writable(options.json, options.junit, options.report)
        names = tuple(identity for path in options.names for identity in read_names(path))
        report = _run(options, cases, names)
    except (CannotRun, BadNames, NoSuchCase) as error:
        complain(str(error))
        return CANNOT_RUN_EXIT
    except asyncio.CancelledError:
        return _TERMINATED_EXIT
    _write(options, report)
    tell("\n".join(_concluded(report)))
    return CONFORMS_EXIT if report.conforms else FAILED_EXIT


def _run(options: argparse.Namespace, cases: list[Case], names: tuple[Identity, ...]) -> Report:
    reports: list[Report] = []

    async def check() -> None:
        running = asyncio.create_task(
            run_suite(
                options.url,
                cases,
                Conditions(options.invites, names, options.seconds),
                _tell,
                clock=time.time,
                random_bytes=secrets.token_bytes,
            )
        )
        # Ctrl-C cancels without this. In both cases the inboxes are deleted before the command ends.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        reports.append(await running)

    run(check())
    return reports[0]


def _tell(result: Result) -> None:
    case = result.case
    shown = "warning" if result.verdict == "failed" and case.level == "recommended" else _SHOWN[result.verdict]
    tell(f"{shown:<8} {case.id}: {case.rule}")
    if result.said:
        tell(f"         {printable(result.said)}" + (f" ({case.link})" if result.verdict == "failed" else ""))


def _listed(cases: list[Case]) -> Iterator[str]:
    for group in GROUPS:
        own = [case for case in cases if case.group == group.name]
        if own:
            yield f"{group.name} ({len(own)})"
        for case in own:
            yield f"  {case.id}{'' if case.level == 'required' else ' (recommended)'}: {case.rule}"


def _concluded(report: Report) -> Iterator[str]:
    yield ""
    for left in report.left:
        yield f"Not deleted: {printable(left)}."
    for level in ("required", "recommended"):
        counts = [f"{report.count(verdict, level)} {verdict}" for verdict in ("passed", "failed", "not run")]
        yield f"{level}: {', '.join(counts)}"
    told = "conforms" if report.conforms else "does not conform"
    yield f"{report.url} {told} to the message inbox protocol, version 1 ({report.seconds:.0f} s)."


def _check_writable(*paths: Path | None) -> None:
    """Before a run of minutes, not after it. Raises `CannotRun`."""
    for path in paths:
        try:
            if path:
                path.open("a").close()
        except OSError as error:
            raise CannotRun(f"{path}: cannot be written: {error.strerror}") from None


def _write(options: argparse.Namespace, report: Report) -> None:
    for path, text in (
        (options.json, as_json(report)),
        (options.junit, as_junit(report)),
        (options.report, as_markdown(report, __version__)),
    ):
        if path:
            path.write_text(text, encoding="utf-8")
