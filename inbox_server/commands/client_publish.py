"""`inbox-server client publish`: the card of an identity, the claims and settings of its inboxes."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.open_client import profile_file
from inbox_server.client.own_card import OwnCardUnreadable
from inbox_server.client.profile_file import Profile
from inbox_server.client.reports import Outcome
from inbox_server.commands.client_command import (
    Output,
    UsageError,
    add_command,
    exit_code,
    origin,
    read_secret_text,
    web_url,
    with_client,
)
from inbox_server.commands.client_keygen import add_association, with_association
from inbox_server.commands.terminal import Commands, marked, whole
from inbox_server.identity.addresses import is_app_address

_CLAIMED: Final = {
    "claimed": "claimed",
    "claimed_again": "claimed again: its operator had deleted or lost your inbox, with all that was in it;"
    " `client audit` looks in the senders' buckets for what you have not read",
}
_SEALED: Final = {
    True: "sealed delivery is on: your contacts get tickets, and you use theirs",
    False: "sealed delivery is off: your card offers no tickets, and you use none",
}
_LISTS: Final = {"contacts": "contacts", "blocked": "blocked people"}
_ROOM: Final = ("notifies you in the room", "notifies you in no room")
_URL: Final = ("notifies your URL", "notifies no URL")


def add_publish(commands: Commands) -> None:
    command = add_command(
        commands,
        "publish",
        help="claim your inboxes, and publish your key and a card that names them",
        description="Claim an inbox at each server, prove your name there, and write key.json and the signed card"
        " inbox.json into your bucket. Repeat it to change settings; what you do not name stays as it is. The card"
        " lists only inboxes that accepted the claim. It is valid for 400 days: repeat the command once a year.",
    )
    command.add_argument(
        "--inbox",
        dest="inboxes",
        metavar="URL",
        type=origin,
        action="append",
        help="an inbox server, one to three of them (default: those on your card); to replace one, use `move`",
    )
    command.add_argument(
        "--accept",
        choices=("names", "anyone", "contacts", "nobody"),
        help="who may deliver: anyone with a name (the default), any key, your contacts, or nobody",
    )
    _add_lists(command)
    command.add_argument("--retention", metavar="SECONDS", type=whole(3600, 10**9), help="how long unread IDs are kept")
    command.add_argument("--invite", metavar="CODE", help="an invite code, if a server requires one")
    command.add_argument(
        "--names",
        metavar="URL",
        type=web_url,
        action="append",
        help="look up names at this service from now on, instead of the earlier ones (repeatable); needs no inbox",
    )
    command.add_argument(
        "--sealed",
        choices=("on", "off"),
        help="whether contacts may deliver without telling the server who they are, and you to them (default: on)",
    )
    room = command.add_mutually_exclusive_group()
    room.add_argument(
        "--matrix",
        metavar="ROOM",
        help="the ID (`!...`, in single quotes) of your direct chat with the server's Matrix bot, which says there that"
        " something waits; invite the bot first",
    )
    room.add_argument("--no-matrix", action="store_true", help="turn notifications in a Matrix room off")
    _add_webhook(command)
    add_association(command)
    command.set_defaults(run=_publish)


def _add_lists(command: argparse.ArgumentParser) -> None:
    for option, name, more in (
        ("--contact", "contacts", "add somebody's app address to your contacts, for `--accept contacts` (repeatable)"),
        ("--drop-contact", "not_contacts", "take somebody off your contacts (repeatable)"),
        ("--block", "blocked", "let somebody's app address deliver nothing (repeatable)"),
        ("--unblock", "not_blocked", "take that back (repeatable)"),
    ):
        command.add_argument(
            option, dest=name, metavar="ADDRESS", type=_address, action="append", default=[], help=more
        )


def _add_webhook(command: argparse.ArgumentParser) -> None:
    webhook = command.add_mutually_exclusive_group()
    webhook.add_argument(
        "--webhook",
        metavar="URL",
        help="a URL of yours, such as a topic of ntfy, that gets a POST when something waits",
    )
    webhook.add_argument("--no-webhook", action="store_true", help="turn notifications to a URL off")
    command.add_argument(
        "--webhook-authorization",
        metavar="FILE",
        type=Path,
        help="if the URL needs an Authorization header: a file (mode 0600) with its value, such as `Bearer tk_123`",
    )


def _address(text: str) -> str:
    if not is_app_address(text):
        raise argparse.ArgumentTypeError("must be an app address (the last part of a bucket's URL)")
    return text


def _publish(options: argparse.Namespace) -> int:
    async def publish(client: InboxClient, output: Output) -> int:
        room = {} if options.no_matrix else None if options.matrix is None else {"room": options.matrix}
        webhook = _webhook(options)
        profile = settled(client)
        _keep_services(client, output, options)
        if (options.names or options.association_token) and not (options.inboxes or profile.inboxes):
            return 0  # a user who only sends has no inbox
        if profile.inboxes or not options.inboxes:  # the first card is written without looking for an older one
            await catch_up(client, output)
        profile = client.account.profile.read()
        outcomes = await _claim(client, output, options, profile)
        # An inbox that is down stays on the card; a new one is added only after it accepted the claim.
        listed = tuple(
            o.inbox for o in outcomes if o.state == "done" or (o.state == "later" and o.inbox in profile.inboxes)
        )
        if not listed:
            return 1
        if options.sealed:
            _keep_sealed(client, output, is_on=options.sealed == "on")
        await _publish_card(client, output, listed, profile.inboxes)
        rooms = await _set_channel(client, output, listed, "matrix", room, done=_ROOM)
        urls = await _set_channel(client, output, listed, "webhook", webhook, done=_URL)
        return exit_code((*outcomes, *rooms, *urls))

    def keep_association() -> None:
        """Runs before the client is opened, so that the client has the token."""
        if options.association_token:
            profile_file(options.profile).change(lambda profile: with_association(profile, options.association_token))

    return with_client(options, publish, before=keep_association)


def _keep_services(client: InboxClient, output: Output, options: argparse.Namespace) -> None:
    if options.names:
        services = tuple(options.names)
        client.account.profile.change(lambda profile: replace(profile, services=services))
        output.tell(f"names are now looked up at {', '.join(services)}", {"names": list(services)})
    if options.association_token:
        output.tell("the association token now goes to the hub with every write", {"association": True})


async def _claim(
    client: InboxClient, output: Output, options: argparse.Namespace, profile: Profile
) -> tuple[Outcome, ...]:
    """Claim the named inboxes, or those on the card, with the requested settings. Raises `UsageError`."""
    wanted = tuple(dict.fromkeys(options.inboxes or profile.inboxes))
    if not 1 <= len(wanted) <= 3:
        raise UsageError("name one to three inbox servers with --inbox")
    settings = _settings(options, profile)
    await _tell_lists(client, output, settings)
    outcomes = await client.claim(settings, inboxes=wanted)
    for outcome in outcomes:
        done = _CLAIMED.get(outcome.code, "already claimed; the settings are as requested")
        output.outcomes([outcome], done, "repeat the command when it is up")
    return outcomes


def _keep_sealed(client: InboxClient, output: Output, *, is_on: bool) -> None:
    client.account.profile.change(lambda profile: replace(profile, sealing=replace(profile.sealing, is_on=is_on)))
    output.tell(_SEALED[is_on], {"sealed": is_on})


async def _publish_card(client: InboxClient, output: Output, inboxes: tuple[str, ...], before: tuple[str, ...]) -> None:
    """`before`: the inboxes that were on the card until now."""
    seq = await client.publish(inboxes)
    output.tell(f"published card {seq}: {', '.join(inboxes)}", {"published": list(inboxes), "seq": seq})
    if fault := client.account.profile.read().sealing.fault:
        output.sheets_wait(fault)
    for url in before:
        if url not in inboxes:
            output.progress(f"{url} is no longer on the card; what is unread there stays there", {"dropped": url})


def _webhook(options: argparse.Namespace) -> dict[str, str] | None:
    """What the protocol asks for; nothing in it: no URL any more; None: leave it as it is. Raises `UsageError`."""
    if options.webhook is None:
        if options.webhook_authorization:
            raise UsageError("--webhook-authorization needs --webhook URL")
        return {} if options.no_webhook else None
    if options.webhook_authorization is None:
        return {"url": options.webhook}
    header = read_secret_text(options.webhook_authorization, "the value of the header").strip()
    return {"url": options.webhook, "authorization": header}


async def _set_channel(
    client: InboxClient,
    output: Output,
    inboxes: tuple[str, ...],
    channel: str,
    address: dict[str, str] | None,
    *,
    done: tuple[str, str],
) -> list[Outcome]:
    """`address` as `_webhook` says; `done` is what is said when one is told, and when none is."""
    if address is None:
        return []
    if address:
        outcomes = [each for inbox in inboxes for each in await client.subscribe(address, inbox=inbox, channel=channel)]
    else:
        outcomes = list(await client.unsubscribe(None, inboxes=inboxes, channel=channel))
    output.outcomes(outcomes, done[not address], "repeat the command when it is up")
    return outcomes


def settled(client: InboxClient) -> Profile:
    """The profile, if no move of it is under way. Raises `UsageError`."""
    profile = client.account.profile.read()
    if profile.move:
        abandon = "inbox-server client move --abandon"
        raise UsageError(f"a move to {profile.move.new} is not finished; repeat it first, or run: {abandon}")
    return profile


async def catch_up(client: InboxClient, output: Output) -> bool:
    """Take over what another device has published, and say so. Whether the inboxes have changed."""
    try:
        taken = await client.catch_up()
    except OwnCardUnreadable as error:
        output.progress(marked(str(error)), {"own_card": "unreadable", "detail": str(error)})
        return False
    output.taken_over(taken)
    return bool(taken)


def _settings(options: argparse.Namespace, profile: Profile) -> dict[str, Any]:
    """The requested settings, and the name to prove. The rest stays: another device may have changed it."""
    asked = {name: getattr(options, name) for name in ("accept", "retention", "invite")}
    for name in _LISTS:
        added, dropped = getattr(options, name), set(getattr(options, f"not_{name}"))
        if added or dropped:
            listed = dict.fromkeys((*profile.settings.get(name, ()), *added))
            asked[name] = [address for address in listed if address not in dropped]
    names = {"names": [profile.name]} if profile.name else {}
    return {**names, **{name: value for name, value in asked.items() if value is not None}}


async def _tell_lists(client: InboxClient, output: Output, settings: Mapping[str, Any]) -> None:
    """Servers take a list as a whole, and tell only how long it was: another device may have put somebody on it."""
    known = client.account.profile.read().settings
    changed = [name for name in _LISTS if name in settings]
    for outcome in await client.settings() if changed else ():
        for name in changed:
            had, knows = outcome.answer.get(name, 0), len(known.get(name, ()))
            if had > knows:
                text = f"of the {had} on its list of {_LISTS[name]}, this profile knows {knows}"
                text += ": those whom another device put there are off it now, so add them again"
                output.progress(f"{outcome.inbox}: {text}", {"list": name, "had": had, "known": knows})
