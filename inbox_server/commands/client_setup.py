"""`inbox-server client keygen`, `publish` and `forget`: an identity, its card and its inboxes."""

import argparse
import getpass
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import BucketFailed, hub_info
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.open_client import profile_file
from inbox_server.client.own_card import OwnCardUnreadable
from inbox_server.client.profile_file import Profile, check_profile, render_profile
from inbox_server.client.storage import BadFile, write_new
from inbox_server.commands.client_command import (
    AskedWrongly,
    Output,
    add_command,
    exit_code,
    origin,
    read_secret_text,
    with_client,
)
from inbox_server.commands.terminal import USAGE_EXIT, Commands, marked, run, whole
from inbox_server.identity.addresses import is_app_address


def add_keygen(commands: Commands) -> None:
    command = add_command(
        commands,
        "keygen",
        help="make a profile: an app key and the servers to use",
        description="Write a profile with a new app key, or with one from your wallet. The key never leaves the file."
        " The command asks the hub once where buckets can be read. It overwrites nothing.",
    )
    command.add_argument(
        "--app", metavar="ORIGIN", type=origin, required=True, help="the app, such as https://chat.example"
    )
    command.add_argument("--hub", metavar="URL", required=True, help="the Gaia hub that holds your bucket")
    command.add_argument(
        "--name", help="your BNS name, such as alice.id; if you have none, leave this out, and the key is your identity"
    )
    command.add_argument(
        "--names", metavar="URL", action="append", default=[], help="a name service that looks up names (repeatable)"
    )
    command.add_argument(
        "--prefix",
        metavar="URL",
        action="append",
        default=[],
        help="another URL below which to read buckets of people without a name, besides your hub's (repeatable)",
    )
    command.add_argument(
        "--allow",
        metavar="ORIGIN",
        type=origin,
        action="append",
        default=[],
        help="a server that others' cards and profiles may name although it is not on the public web (repeatable)",
    )
    command.add_argument(
        "--import",
        dest="key_file",
        metavar="FILE",
        type=Path,
        help="read the app private key, in hex, from this file (mode 0600), or from standard input if FILE is -",
    )
    _add_association(command)
    command.set_defaults(run=_keygen)


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
    command.add_argument("--contact", dest="contacts", metavar="ADDRESS", type=_address, action="append")
    command.add_argument("--block", dest="blocked", metavar="ADDRESS", type=_address, action="append")
    command.add_argument("--retention", metavar="SECONDS", type=whole(3600, 10**9), help="how long unread IDs are kept")
    command.add_argument("--invite", metavar="CODE", help="an invite code, if a server requires one")
    command.add_argument(
        "--names",
        metavar="URL",
        action="append",
        help="look up names at this service from now on, instead of the earlier ones (repeatable); needs no inbox",
    )
    _add_association(command)
    command.set_defaults(run=_publish)


def _add_association(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--association-token",
        metavar="FILE",
        type=Path,
        help="if the hub is private: a file (mode 0600) with the token in which one of the hub's users vouches for you",
    )


def add_forget(commands: Commands) -> None:
    command = add_command(
        commands,
        "forget",
        help="delete inboxes, with everything in them",
        description="Take inboxes off your card and delete them at their servers, with what is unread in them."
        " The profile and its key stay.",
    )
    command.add_argument(
        "--inbox",
        dest="inboxes",
        metavar="URL",
        type=origin,
        action="append",
        help="which inbox (repeatable; default: all on your card)",
    )
    command.add_argument(
        "--yes", action="store_true", required=True, help="required, because what is unread there is lost"
    )
    command.set_defaults(run=_forget)


def _address(text: str) -> str:
    if not is_app_address(text):
        raise argparse.ArgumentTypeError("must be an app address (the last part of a bucket's URL)")
    return text


def _keygen(options: argparse.Namespace) -> int:
    output = Output(options)
    try:
        profile = _new_profile(options)
        write_new(options.profile, render_profile(profile))
    except BucketFailed as error:
        output.fail(str(error), "unreachable")
        return 1
    except (AskedWrongly, BadFile, ValueError) as error:
        output.fail(str(error), "asked_wrongly")
        return USAGE_EXIT
    output.tell(
        f"wrote {options.profile} (keep a copy: it holds your app key)\n"
        f"   identity         {profile.identity}\n"
        f"   app public key   {profile.key.public}\n"
        f"   bucket           {profile.prefixes[0]}{profile.key.address}/\n"
        f"next: {output.command('publish', '--inbox URL')}",
        {"profile": str(options.profile), "identity": profile.identity, "key": profile.key.public}
        | {"address": profile.key.address},
    )
    return 0


def _new_profile(options: argparse.Namespace) -> Profile:
    """Raises `AskedWrongly`, ValueError or `BucketFailed`."""
    if options.profile.exists():
        raise AskedWrongly(f"{options.profile} already exists and was not changed. Name another file with --profile.")
    hub = options.hub.rstrip("/")
    key = _key(options.key_file)
    if options.name and not options.names:
        raise AskedWrongly("with --name you also need a name service: --names URL")
    prefixes = (_read_prefix(hub), *options.prefix)
    profile = Profile(
        key,
        options.app,
        hub,
        prefixes,
        options.name,
        tuple(url.rstrip("/") for url in options.names),
        tuple(options.allow),
    )
    check_profile(profile)
    return _with_association(profile, options.association_token)


def _with_association(profile: Profile, path: Path | None) -> Profile:
    """With the token in a file, if one is named. Raises `AskedWrongly`."""
    if path is None:
        return profile
    changed = replace(profile, association=read_secret_text(path, "the token").strip())
    try:
        check_profile(changed)
    except ValueError as error:
        raise AskedWrongly(str(error)) from None
    return changed


def _key(path: Path | None) -> AppKey:
    if path is None:
        return AppKey(secrets.token_bytes(32))
    text = _typed_key() if str(path) == "-" else read_secret_text(path, "the key, or -")
    try:
        return AppKey.from_hex(text.strip())
    except ValueError:
        raise AskedWrongly(
            "that is not an app private key, which has 64 hex characters, or 66 that end with 01"
        ) from None


def _typed_key() -> str:
    if sys.stdin is None:
        raise AskedWrongly("standard input is closed: give the file of the key with --import FILE")
    return getpass.getpass("app private key (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()


def _read_prefix(hub: str) -> str:
    info: dict[str, Any] = {}

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            info.update(await hub_info(session, hub))

    run(ask())
    return str(info["read_url_prefix"])


def _publish(options: argparse.Namespace) -> int:
    async def publish(client: InboxClient, output: Output) -> int:
        profile = _settled(client)
        if options.names:
            services = tuple(url.rstrip("/") for url in options.names)
            client.account.profile.change(lambda profile: replace(profile, services=services))
            output.tell(f"names are now looked up at {', '.join(services)}", {"names": list(services)})
        if options.association_token:
            output.tell("the association token now goes to the hub with every write", {"association": True})
        if (options.names or options.association_token) and not (options.inboxes or profile.inboxes):
            return 0  # who only sends has no inbox
        if profile.inboxes or not options.inboxes:  # a first card is written before one is looked for
            await _catch_up(client, output)
        profile = client.account.profile.read()
        wanted = tuple(dict.fromkeys(options.inboxes or profile.inboxes))
        if not 1 <= len(wanted) <= 3:
            raise AskedWrongly("name one to three inbox servers with --inbox")
        outcomes = await client.claim(_settings(options, profile), inboxes=wanted)
        for outcome in outcomes:
            done = "claimed" if outcome.code == "claimed" else "already claimed; the settings are as requested"
            output.outcomes([outcome], done, "repeat the command when it is up")
        # One that is down for now keeps its place on the card; one that is new has none before it took the claim.
        listed = tuple(
            o.inbox for o in outcomes if o.state == "done" or (o.state == "later" and o.inbox in profile.inboxes)
        )
        if not listed:
            return 1
        seq = await client.publish(listed)
        output.tell(f"published card {seq}: {', '.join(listed)}", {"published": list(listed), "seq": seq})
        for url in profile.inboxes:
            if url not in listed:
                output.progress(f"{url} is no longer on the card; what is unread there stays there", {"dropped": url})
        return exit_code(outcomes)

    def keep_association() -> None:
        """Before the client is opened, so that it has the token."""
        if options.association_token:
            profile_file(options.profile).change(lambda profile: _with_association(profile, options.association_token))

    return with_client(options, publish, before=keep_association)


def _settled(client: InboxClient) -> Profile:
    """The profile, if no move of it is under way. Raises `AskedWrongly`."""
    profile = client.account.profile.read()
    if profile.move:
        raise AskedWrongly(f"a move to {profile.move.new} is not finished; repeat it first, or run: move --abandon")
    return profile


async def _catch_up(client: InboxClient, output: Output) -> bool:
    try:
        taken = await client.catch_up()
    except OwnCardUnreadable as error:
        output.progress(marked(str(error)), {"own_card": "unreadable", "detail": str(error)})
        return False
    output.taken_over(taken)
    return bool(taken)


def _settings(options: argparse.Namespace, profile: Profile) -> dict[str, Any]:
    """What was asked for, and the name to prove. The rest stays as it is, which another device may have changed."""
    asked = {name: getattr(options, name) for name in ("accept", "contacts", "blocked", "retention", "invite")}
    names = {"names": [profile.name]} if profile.name else {}
    return {**names, **{name: value for name, value in asked.items() if value is not None}}


def _forget(options: argparse.Namespace) -> int:
    async def forget(client: InboxClient, output: Output) -> int:
        _settled(client)
        if await _catch_up(client, output) and not options.inboxes:
            raise AskedWrongly(
                "nothing was deleted; repeat the command if you mean these inboxes, or name some with --inbox"
            )
        inboxes = tuple(options.inboxes) if options.inboxes else None
        outcomes = await client.forget(inboxes=inboxes)
        output.outcomes(outcomes, "deleted", f"when it is up: {output.command('forget', '--yes --inbox URL')}")
        if not outcomes:
            raise AskedWrongly("the card names no inbox")
        return exit_code(outcomes)

    return with_client(options, forget)
