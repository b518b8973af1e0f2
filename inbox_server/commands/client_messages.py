"""`inbox-server client send`, `inbox`, `read` and `ack`: messages out and in."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.outbox import Outbox, undelivered
from inbox_server.client.reports import Entry, Outcome, Sent, Unread
from inbox_server.client.user import NotForNow
from inbox_server.clock import UnixTime
from inbox_server.commands import exit_codes
from inbox_server.commands.client_command import (
    Output,
    UsageError,
    add_command,
    check_seen,
    exit_code,
    outcome_document,
    with_client,
)
from inbox_server.commands.client_entries import entry_document, entry_text, show_message
from inbox_server.commands.settings_text import settings_text, span
from inbox_server.commands.terminal import Commands, complain, marked, whole


def add_send(commands: Commands) -> None:
    command = add_command(
        commands,
        "send",
        help="send a message",
        description="Store a message in your bucket, encrypted and signed, and deliver its encrypted ID to every inbox"
        " on the recipient's card. It has arrived when one of them has stored it. If another cannot store it now, the"
        " delivery waits in the outbox next to the profile; `watch` and every later `send` repeat it.",
    )
    command.add_argument("recipient", nargs="?", help="a name (bob.id), an app public key, or an app address")
    command.add_argument("text", nargs="?", help="the message (default: read standard input to its end)")
    command.add_argument("--file", type=Path, help="send the bytes of this file instead")
    command.add_argument("--ttl", metavar="SECONDS", type=whole(10, 10**9), help="how long the ID may stay unread")
    command.add_argument(
        "--signed",
        action="store_true",
        help="let this message be signed if no ticket is accepted, even if earlier ones to this recipient went sealed",
    )
    command.add_argument(
        "--retry", action="store_true", help="send nothing new, only repeat what is waiting in the outbox"
    )
    command.set_defaults(run=_send)


def add_inbox(commands: Commands) -> None:
    command = add_command(
        commands,
        "inbox",
        help="list what is unread",
        description="List what is unread at all your inboxes, each entry once. The sender that an entry names is"
        " only a claim until `read` has checked it. Listing removes nothing.",
    )
    command.add_argument("--settings", action="store_true", help="show each inbox's settings and free space instead")
    command.set_defaults(run=_inbox)


def add_read(commands: Commands) -> None:
    command = add_command(
        commands,
        "read",
        help="fetch, verify and show messages",
        description="Fetch unread messages from their senders' buckets, check that the sender's own key signed them,"
        " and show them. They stay unread until they are acknowledged.",
    )
    command.takes_ids = True
    command.add_argument(
        "ids", nargs="*", type=str.strip, metavar="ID", help="which messages, as `inbox` lists them (default: all)"
    )
    command.add_argument("--ack", action="store_true", help="acknowledge those that could be shown")
    command.add_argument(
        "--save", metavar="FILE", type=Path, help="write one message to a new file, byte for byte, as it was sent"
    )
    command.set_defaults(run=_read)


def add_ack(commands: Commands) -> None:
    command = add_command(
        commands,
        "ack",
        help="acknowledge messages: mark them as read",
        description="Tell every inbox that entries are read, even if their messages cannot be fetched. If an inbox is"
        " down, the next command that reads will tell it.",
    )
    command.takes_ids = True
    command.add_argument("ids", nargs="*", type=str.strip, metavar="ID", help="which entries, as `inbox` lists them")
    command.add_argument("--all", action="store_true", help="acknowledge everything that is unread")
    command.set_defaults(run=_ack)


def _send(options: argparse.Namespace) -> int:
    content: str | bytes = b""

    def take() -> None:
        nonlocal content
        if options.retry and options.recipient:
            raise UsageError("--retry sends nothing new: leave out the recipient")
        if not options.retry and not options.recipient:
            raise UsageError("name a recipient, or use --retry")
        content = b"" if options.retry else _content(options)

    async def send(client: InboxClient, output: Output) -> int:
        if options.retry:
            return _retried(await client.retry(), client.account.outbox.read(), client.account.now, output)
        sent = await client.send(options.recipient, content, ttl=options.ttl, may_sign=options.signed)
        output.sent(sent)
        for earlier in await client.retry():
            if earlier.message != sent.message:
                output.sent(earlier)
        return 0 if sent.is_everywhere else exit_codes.PARTLY if sent.stored else 1

    return with_client(options, send, before=take)


def _retried(reports: Iterable[Sent], outbox: Outbox, now: UnixTime, output: Output) -> int:
    reports = tuple(reports)
    left = undelivered(outbox)
    for sent in reports:
        output.sent(sent)
    dues = [place.not_before - now for waiting in left.values() for place in waiting.places.values()]
    rest = [due for due in dues if due > 0]  # servers asked for a pause until then
    hint = f"; a server asks for a pause, of {span(min(rest))} from now" if rest and not reports else ""
    output.tell(f"{len(left)} still in the outbox{hint}", {"waiting": len(left)})
    if any(outcome.state == "refused" for sent in reports for outcome in sent.outcomes) or left:
        return exit_codes.PARTLY if any(sent.stored for sent in reports) else 1
    return 0


def _content(options: argparse.Namespace) -> str | bytes:
    if options.file:
        if options.text is not None:
            raise UsageError("give a text or a --file, not both")
        try:
            return bytes(options.file.read_bytes())
        except OSError as error:
            raise UsageError(f"{options.file} cannot be read: {error.strerror}") from None
    try:
        text = _typed() if options.text is None else str(options.text)
        text.encode()  # bytes of an argument that are not text cannot be encoded again
    except UnicodeError:
        raise UsageError("the message is not UTF-8 text; send it with --file FILE") from None
    return text


def _typed() -> str:
    if sys.stdin is None:
        raise UsageError("standard input is closed: give a text or a --file")
    if sys.stdin.isatty():
        complain("Type the message; Ctrl-D on a line of its own sends it, Ctrl-C does not.")
    return sys.stdin.read()


def _inbox(options: argparse.Namespace) -> int:
    async def inbox(client: InboxClient, output: Output) -> int:
        if options.settings:
            need_inbox(client, output)
            outcomes = await client.settings()
            for outcome in outcomes:
                is_shown = outcome.state == "done"
                text = settings_text(outcome.inbox, outcome.answer) if is_shown else _not_shown(outcome)
                output.tell(text, outcome_document(outcome))
            return exit_code(outcomes)
        unread = await _unread(client, output)
        for entry in unread.entries:
            output.tell(entry_text(entry), entry_document(entry))
        if waiting := len(undelivered(client.account.outbox.read())):
            output.progress(f"{waiting} sent messages are waiting in the outbox", {"waiting": waiting})
        return exit_code(unread.outcomes)

    return with_client(options, inbox)


def _read(options: argparse.Namespace) -> int:
    def check() -> None:
        if options.ack and not options.save:
            check_seen()

    async def read(client: InboxClient, output: Output) -> int:
        unread = await _unread(client, output, ids=options.ids)
        if not unread.asked and not unread.without_server:
            return 1
        entries = _chosen(unread, options.ids) if options.ids else unread.entries
        _check_save(options, entries)
        shown = [entry for entry in entries if await show_message(client, entry, output, options.save)]
        _tell_gaps(client, output)
        acked = exit_code(await client.acknowledge(shown)) if options.ack and shown else 0
        if len(shown) < len(entries):
            return exit_codes.PARTLY if shown else 1
        return exit_codes.PARTLY if unread.without_server and shown else acked or exit_code(unread.outcomes)

    return with_client(options, read, before=check)


def _tell_gaps(client: InboxClient, output: Output) -> None:
    """Senders number what they write. For people: a script audits, or does not."""
    for person in client.account.profile.read().remembered.people.values():
        if person.gaps and not output.is_json:
            numbers = ", ".join(map(str, person.gaps[:5])) + (" …" if len(person.gaps) > 5 else "")
            text = f"left out of what {marked(person.identity)} sent, by its numbers: {numbers}. To look for it:"
            output.progress(f"{text} {output.command('audit', '').rstrip()}", {})


def _check_save(options: argparse.Namespace, entries: Iterable[Entry]) -> None:
    """Raises `UsageError`."""
    if options.save and len(tuple(entries)) > 1:
        raise UsageError("--save takes one message: name it by its ID, as `inbox` lists it")
    if options.save and options.save.exists():
        raise UsageError(f"{options.save} already exists and was not changed; name another file")


def _ack(options: argparse.Namespace) -> int:
    async def ack(client: InboxClient, output: Output) -> int:
        if bool(options.ids) == options.all:
            raise UsageError("name the entries to acknowledge, or use --all")
        unread = await _unread(client, output, ids=options.ids)
        if not unread.asked and not unread.without_server:
            return 1
        entries = unread.entries if options.all else _chosen(unread, options.ids)
        if not entries:
            return exit_code(unread.outcomes)
        outcomes = await client.acknowledge(entries)
        output.outcomes(outcomes, f"{len(entries)} acknowledged")
        return exit_code(outcomes) or exit_code(unread.outcomes)

    return with_client(options, ack)


async def _unread(client: InboxClient, output: Output, ids: Iterable[str] = ()) -> Unread:
    """What is unread. Reports inboxes that could not be asked, and says if nothing is unread at the others."""
    need_inbox(client, output)
    unread = await client.unread()
    output.taken_over(unread.taken_over)
    for outcome in unread.outcomes:
        if outcome.state != "done":
            output.progress(f"{outcome.inbox} could not be asked: {marked(outcome.detail)}", outcome_document(outcome))
    if unread.without_server:
        text = f"without a server: {len(unread.entries)} found in the buckets of people who wrote before"
        output.progress(text, {"without_server": len(unread.entries)})
    if unread.asked and not unread.entries and not ids:
        where = "" if len(unread.asked) == len(unread.outcomes) else f" at {' and '.join(unread.asked)}"
        output.progress(f"nothing is unread{where}", {"unread": 0, "asked": list(unread.asked)})
    return unread


def need_inbox(client: InboxClient, output: Output) -> None:
    """Raises `UsageError`."""
    if not client.account.profile.read().sources:
        taken = f"or, if another device of yours has one, take it over with: {output.command('publish', '').rstrip()}"
        raise UsageError(
            f"this profile has no inbox; claim one with: {output.command('publish', '--inbox URL')}; {taken}"
        )


def _chosen(unread: Unread, ids: Iterable[str]) -> tuple[Entry, ...]:
    """The entries whose id, or whose message's ID, begins like this. Raises `UsageError`, or `NotForNow`."""
    chosen: dict[str, Entry] = {}
    for id in ids:
        found = [entry for entry in unread.entries if any(text.startswith(id) for text in _names_of(entry))]
        if not found and len(unread.asked) < len(unread.outcomes):
            where = " and ".join(unread.asked) or "the buckets of people who wrote before"
            raise NotForNow(f"{id} is no unread entry at {where}")
        if len(found) != 1:
            raise UsageError(f"{id} is {'no unread entry' if not found else 'the beginning of several'}")
        chosen[found[0].ids[0]] = found[0]
    return tuple(chosen.values())


def _names_of(entry: Entry) -> tuple[str, ...]:
    return entry.ids + ((entry.pointer.id,) if entry.pointer else ())


def _not_shown(outcome: Outcome) -> str:
    return f"{outcome.inbox}: {marked(outcome.detail)}"
