"""`inbox-server client push`: which browsers are notified of unread messages."""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Outcome
from inbox_server.commands.client_command import (
    Output,
    UsageError,
    add_command,
    exit_code,
    origin,
    outcome_document,
    with_client,
)
from inbox_server.commands.client_messages import need_inbox
from inbox_server.commands.terminal import Commands, marked

_MOST: Final = 8  # subscriptions that an inbox accepts


def add_push(commands: Commands) -> None:
    command = add_command(
        commands,
        "push",
        help="list, add or drop browsers that are notified by Web Push",
        description="List the browsers that your inboxes notify by Web Push when something waits: the short ID, the"
        f" push service, and the day on which each last subscribed. An inbox has room for {_MOST}; an old day means"
        " stale.",
    )
    command.takes_ids = True
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--subscribe",
        metavar="FILE",
        type=Path,
        help="the output of PushSubscription.toJSON() in the browser; - reads standard input",
    )
    which.add_argument("--drop", metavar="ID", type=str.strip, help="the short ID, as the list shows it")
    command.add_argument("--inbox", metavar="URL", type=origin, help="where to subscribe, if you have several")
    command.set_defaults(run=_push)


def _push(options: argparse.Namespace) -> int:
    async def push(client: InboxClient, output: Output) -> int:
        need_inbox(client, output)
        if options.subscribe:
            outcomes = await client.subscribe(_subscription(options.subscribe), inbox=_inbox(options, client))
            output.outcomes(outcomes, "subscribed", "repeat the command when it is up")
            if any(outcome.state == "refused" for outcome in outcomes):
                await _hint(client, output)
            return exit_code(outcomes)
        listed = await client.subscriptions()
        if options.drop is not None:
            return await _drop(client, output, options.drop, listed)
        for outcome in listed:
            output.tell(_list_text(outcome), outcome_document(outcome))
        return exit_code(listed)

    return with_client(options, push)


async def _hint(client: InboxClient, output: Output) -> None:
    """If there are too many, say how to make room with this command."""
    if any(len(_subscriptions(outcome)) >= _MOST for outcome in await client.subscriptions()):
        push = output.command("push", "")
        output.progress(f"{push}lists them, {push}--drop ID drops a stale one", {"hint": "drop a stale one"})


async def _drop(client: InboxClient, output: Output, id: str, listed: tuple[Outcome, ...]) -> int:
    where = tuple(o.inbox for o in listed if any(each.get("id") == id for each in _subscriptions(o)))
    if not where and all(outcome.state == "done" for outcome in listed):
        raise UsageError(f"{id} is not a subscription of yours; {output.command('push', '')}lists them")
    outcomes = await client.unsubscribe(id, inboxes=where) if where else listed
    output.outcomes(outcomes, "dropped", "repeat the command when it is up")
    return exit_code(outcomes)


def _subscription(path: Path) -> dict[str, Any]:
    """Raises `UsageError`, whose message quotes nothing from it."""
    try:
        document = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UsageError("that is not what PushSubscription.toJSON() gives: a JSON object with endpoint and keys")
    return document


def _inbox(options: argparse.Namespace, client: InboxClient) -> str:
    """The inbox to subscribe at: only the server whose key the browser used can use it. Raises `UsageError`."""
    own = client.account.profile.read().inboxes
    if options.inbox and options.inbox not in own:
        raise UsageError(f"{options.inbox} is not on your card")
    if not options.inbox and len(own) != 1:
        raise UsageError(f"name the server whose key the browser subscribed with: --inbox, one of {', '.join(own)}")
    return str(options.inbox or own[0])


def _subscriptions(outcome: Outcome) -> list[Mapping[str, Any]]:
    listed = outcome.answer.get("subscriptions")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _list_text(outcome: Outcome) -> str:
    if outcome.state != "done":
        return f"{outcome.inbox}: {marked(outcome.detail)}"
    lines = [
        f"   {each.get('id')}  since {_day(each.get('since'))}  {marked(str(each.get('service')))}"
        for each in _subscriptions(outcome)
    ]
    return "\n".join([outcome.inbox, *(lines or ["   no browser is notified"])])


def _day(since: Any) -> str:
    try:
        return datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d")
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"
