"""What all `inbox-server client` commands share: the profile's file, opening a client, and reporting results."""

import argparse
import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.moving import CannotMove
from inbox_server.client.open_client import open_client, outbox_file, profile_file
from inbox_server.client.people import PEOPLE_FILE
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.reports import Outcome, Sent
from inbox_server.client.storage import BadFile
from inbox_server.client.user import NotAuthentic, NotForNow, NotReachable
from inbox_server.commands import exit_codes
from inbox_server.commands.terminal import Commands, complain, marked, printable, run, tell
from inbox_server.identity.names import is_origin

_PATIENCE_SECONDS: Final = 20.0  # how long a person waits for a server that asks for a pause

EXIT_CODES: Final = (
    "Exit codes: 0 everything was done; 1 failed (nothing was done, or the command did not finish); 2 usage error"
    " (arguments, or the profile's file); 3 partly done (at one of several inboxes: the output says which);"
    " 130 stopped by Ctrl-C; 141 the program that read the output ended first (as `head` does)."
)

# Of an id, at least what `inbox` shows of it after two hyphens; no option is `-` and a word, or so long a word.
_LIKE_AN_ID: Final = re.compile(r"-[A-Za-z0-9_][A-Za-z0-9_-]+|--[A-Za-z0-9_-]{10,}")


class UsageError(Exception):
    """The arguments do not fit each other or the profile; the message says why."""


def default_profile(environment: Mapping[str, str] = os.environ) -> Path:
    """The path according to the XDG base directory specification.

    Who has no home directory, as a service under systemd, has no profile there either, but may run other commands.
    """
    base = environment.get("XDG_CONFIG_HOME", "")
    try:
        folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    except RuntimeError:
        folder = Path("~", ".config")
    return folder / "inbox-server" / "profile.json"


class ClientParser(argparse.ArgumentParser):
    """Accepts ids that begin with `-`, and answers a mistake with the usage of the command in question."""

    takes_ids = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        given = list(args or ())
        if self.takes_ids:
            end = given.index("--") if "--" in given else len(given)
            # With a space before it, argparse does not take it for an option; the argument's type strips the space.
            given[:end] = [f" {text}" if _LIKE_AN_ID.fullmatch(text) else text for text in given[:end]]
        parsed, unknown = super().parse_known_args(given, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


def add_command(
    commands: Commands, name: str, *, help: str, description: str, epilog: str = EXIT_CODES
) -> ClientParser:
    """A client command with the options that all of them have."""
    command: ClientParser = commands.add_parser(name, help=help, description=description, epilog=epilog)
    command.add_argument(
        "--profile",
        metavar="FILE",
        type=Path,
        default=default_profile(),
        help="the identity's file, mode 0600 (default: inbox-server/profile.json in $XDG_CONFIG_HOME or ~/.config)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON document on each line, for scripts")
    return command


def origin(text: str) -> str:
    if not is_origin(text):
        raise argparse.ArgumentTypeError("must be an origin such as https://inbox.example, without a slash at the end")
    return text


def web_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text):
        raise argparse.ArgumentTypeError("must be an http(s) URL such as https://hub.example")
    return text.rstrip("/")


class Output:
    """Prints for a person or, with `--json`, for a script."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.is_json: bool = options.json
        is_default = options.profile == default_profile()
        self._profile_option = "" if is_default else f" --profile {shlex.quote(str(options.profile))}"

    def command(self, command: str, arguments: str) -> str:
        """A client command for this profile, as a person can paste it."""
        return f"inbox-server client {command}{self._profile_option} {arguments}"

    def tell(self, text: str, document: Mapping[str, Any]) -> None:
        tell(json.dumps(document) if self.is_json else printable(text))

    def progress(self, text: str, document: Mapping[str, Any]) -> None:
        """Progress that a person may want to see. It is not part of the result, so it does not go to stdout."""
        if self.is_json:
            tell(json.dumps(document))
        else:
            complain(printable(text))

    def fail(self, text: str, code: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        if self.is_json:
            tell(json.dumps({"error": text, "code": code, **more}))
        else:
            complain(printable(text))

    def taken_over(self, inboxes: Iterable[str]) -> None:
        """Say that another device has published a card, and which inboxes it names."""
        if named := list(inboxes):
            text = (
                f"another device has published a newer card, which names {', '.join(named)}; this profile now uses them"
            )
            self.progress(text, {"taken_over": named})

    def sheets_wait(self, why: str) -> None:
        """Say that no tickets were sent to the inboxes, and what helps."""
        text = f"no new tickets for your contacts: {marked(why)}"
        remedy = (
            "those that they have stay good; if it is damaged and stays so, delete the file in your bucket, and publish"
            " makes another"
            if PEOPLE_FILE in why
            else "what they send sealed waits with them until they sign it (`send --signed`)"
        )
        self.progress(f"{text}; {remedy}", {"sheets_wait": why})

    def outcomes(self, outcomes: Iterable[Outcome], done: str, later: str = "") -> None:
        """`later`: what the user must do if nothing repeats it automatically; URL in it means the inbox."""
        for outcome in outcomes:
            words = _words(outcome, done, later.replace("URL", outcome.inbox))
            self.tell(f"{outcome.inbox}: {words}", outcome_document(outcome))

    def sent(self, sent: Sent) -> None:
        document = {
            "sent": sent.message,
            "recipient": sent.recipient,
            "stored": list(sent.stored),
            "inboxes": [outcome_document(outcome) for outcome in sent.outcomes],
        }
        lines = [f"   {outcome.inbox}: {_words(outcome, _stored_words(outcome))}" for outcome in sent.outcomes]
        if sent.index:
            document["index"] = sent.index
            lines.append(f"   not in the index in your bucket yet, the next send repeats that: {marked(sent.index)}")
        if not sent.is_linked:
            lines.append("   without its number: the app's or the bucket's URL is too long, so only the index has it")
        self.tell("\n".join([f"message {sent.message} to {sent.recipient}", *lines]), document)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    document = {"inbox": outcome.inbox, "state": outcome.state, "code": outcome.code, "detail": outcome.detail}
    document |= {"receipt": outcome.receipt} if outcome.receipt else {}
    document |= {"way": outcome.way} if outcome.way else {}
    return document | ({"answer": dict(outcome.answer)} if outcome.answer else {})


def exit_code(outcomes: Iterable[Outcome]) -> int:
    states = [outcome.state == "done" for outcome in outcomes]
    return 0 if all(states) else exit_codes.PARTLY if any(states) else 1


Work = Callable[[InboxClient, Output], Awaitable[int]]


def with_client(
    options: argparse.Namespace,
    work: Work,
    *,
    before: Callable[[], None] = lambda: None,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> int:
    """Run the job with the profile's client; its errors become a sentence and an exit code.

    `before` may wait for a person. It must not run in the event loop, where Ctrl-C would not end it.
    """
    output = Output(options)
    result = 1

    async def open_and_work() -> None:
        nonlocal result
        profile = profile_file(options.profile)
        async with open_client(profile, outbox_file(options.profile), patience_seconds=patience_seconds) as client:
            result = await work(client, output)

    try:
        profile_file(options.profile).read()
        before()
        run(open_and_work())
    except (UsageError, BadFile) as error:
        output.fail(str(error), "usage_error")
        return exit_codes.USAGE
    except InboxRefused as refusal:
        how = "refused" if refusal.is_final else "not now, repeat the command"
        output.fail(f"{how}: {marked(refusal.detail)} ({marked(refusal.code) or refusal.status})", refusal.code)
    except Unreachable as failure:
        output.fail(marked(str(failure)), "unreachable")
    except (NotReachable, NotForNow, NotAuthentic, BucketFailed, CannotMove) as error:
        output.fail(marked(str(error)), type(error).__name__)
    else:
        return result
    return 1


def check_seen() -> None:
    """What nobody can see must not be acknowledged. Raises `UsageError` if we were started without an output."""
    if sys.__stdout__ is None:
        raise UsageError("--ack needs an output: standard output is closed, so nobody would see the messages")


def read_secret_text(path: Path, what: str) -> str:
    """`what` is in a file that only its owner can read. Raises `UsageError`, without the file's name.

    The name may be the secret itself, given instead of a file.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UsageError("others can read that file; run: chmod 600 FILE")
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = type(error).__name__
        raise UsageError(f"that file cannot be read ({why}); name a file that contains {what}") from None


def _stored_words(outcome: Outcome) -> str:
    way = f", {outcome.way}" if outcome.way not in ("", "signed") else ""
    if outcome.receipt in ("", "kept"):
        return f"stored{way}, receipt {outcome.receipt}" if outcome.receipt else f"stored{way}"
    return f"stored{way}, but {marked(outcome.receipt)}"


def _words(outcome: Outcome, done: str, later: str = "") -> str:
    if outcome.state == "done":
        return done
    code = f" ({marked(outcome.code)})" if outcome.code else ""  # only inbox servers give one
    if outcome.state == "refused":
        return f"refused for good{code}: {marked(outcome.detail)}"
    when = f"; {later}" if later else ", will be repeated later"
    return f"not now{code}{when}: {marked(outcome.detail)}"
