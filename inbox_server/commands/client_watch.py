"""`inbox-server client watch`: news as it comes."""

import argparse
import asyncio
import contextlib
import signal

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import (
    Arrived,
    Audit,
    Connection,
    News,
    Notice,
    Renewed,
    Sent,
    SheetsWait,
    WasRead,
    WithoutServer,
)
from inbox_server.commands.client_audit import tell_audit
from inbox_server.commands.client_command import Output, UsageError, add_command, check_seen, with_client
from inbox_server.commands.client_entries import entry_document, entry_text, show_message
from inbox_server.commands.client_messages import need_inbox
from inbox_server.commands.settings_text import notice_text
from inbox_server.commands.terminal import Commands, marked, whole


def add_watch(commands: Commands) -> None:
    command = add_command(
        commands,
        "watch",
        help="wait for news, and report it as it comes",
        description="Follow all your inboxes until Ctrl-C: first what arrived since the last time, then news as it"
        " comes. If an inbox cannot be reached, the command says so and tries again, with growing pauses. Meanwhile"
        " it looks for messages in the buckets of people who wrote before. It audits the inboxes once a day, and"
        " delivers the sent messages that are waiting in the outbox.",
    )
    command.add_argument("--read", action="store_true", help="fetch, verify and show each message")
    command.add_argument("--ack", action="store_true", help="acknowledge each message once it was shown (needs --read)")
    command.add_argument(
        "--count", metavar="N", type=whole(1, 10**6), help="stop after N messages; the next watch continues there"
    )
    command.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    async def watch(client: InboxClient, output: Output) -> int:
        if options.ack and not options.read:
            raise UsageError("--ack needs --read, because only what was shown is acknowledged")
        if options.ack:
            check_seen()
        need_inbox(client, output)
        telling = asyncio.create_task(_tell_all(client, output, options))
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, telling.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await telling
        return 0

    return with_client(options, watch, patience_seconds=0)


async def _tell_all(client: InboxClient, output: Output, options: argparse.Namespace) -> None:
    async with contextlib.aclosing(client.watch(count=options.count)) as all_news:
        async for news in all_news:
            if isinstance(news, Arrived):
                await _tell_arrived(client, output, options, news)
            else:
                _tell_other(output, news)


async def _tell_arrived(client: InboxClient, output: Output, options: argparse.Namespace, news: Arrived) -> None:
    if not options.read and not news.is_again:
        document = {"news": "arrived", **entry_document(news.entry), "without_server": news.without_server}
        output.tell(entry_text(news.entry), document)
    elif options.read and await show_message(client, news.entry, output) and options.ack:
        await client.acknowledge([news.entry])


def _tell_other(output: Output, news: News) -> None:
    if isinstance(news, Sent):
        output.sent(news)
    elif isinstance(news, Renewed):
        output.progress(
            f"your card would have expired soon; it was renewed as {news.seq}", {"news": "renewed", "seq": news.seq}
        )
    elif isinstance(news, SheetsWait):
        output.sheets_wait(news.why)
    elif isinstance(news, Audit):
        tell_audit(news, output)
    elif isinstance(news, WithoutServer):
        text = f"without a server: {news.found} more found in the buckets of people who wrote before"
        output.progress(text, {"news": "without_server", "found": news.found})
    elif isinstance(news, Notice):
        output.progress(f"{news.inbox}: {marked(notice_text(news.notice))}", {"news": news.notice, "inbox": news.inbox})
    elif isinstance(news, WasRead) and output.is_json:
        output.progress("", {"news": "read", "id": news.id})
    elif isinstance(news, Connection):
        if news.is_up:
            output.progress(f"following {news.inbox}", {"news": "up", "inbox": news.inbox})
        else:
            again = f"trying again in {news.again_seconds:.0f} s"
            document = {"news": "down", "inbox": news.inbox, "detail": news.detail, "again": news.again_seconds}
            output.progress(f"{news.inbox} cannot be followed now, {again}: {marked(news.detail)}", document)
