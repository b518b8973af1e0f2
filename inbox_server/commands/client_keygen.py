"""`inbox-server client keygen`: a profile, with a new app key or one from a wallet."""

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
from inbox_server.client.profile_file import Profile, check_profile, render_profile
from inbox_server.client.storage import BadFile, write_new
from inbox_server.commands import exit_codes
from inbox_server.commands.client_command import Output, UsageError, add_command, origin, read_secret_text, web_url
from inbox_server.commands.terminal import Commands, run


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
    command.add_argument(
        "--hub", metavar="URL", type=web_url, required=True, help="the Gaia hub that holds your bucket"
    )
    command.add_argument(
        "--name", help="your BNS name, such as alice.id; if you have none, leave this out, and the key is your identity"
    )
    command.add_argument(
        "--names",
        metavar="URL",
        type=web_url,
        action="append",
        default=[],
        help="a name service that looks up names (repeatable)",
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
    add_association(command)
    command.set_defaults(run=_keygen)


def add_association(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--association-token",
        metavar="FILE",
        type=Path,
        help="if the hub is private: a file (mode 0600) with the token in which one of the hub's users vouches for you",
    )


def _keygen(options: argparse.Namespace) -> int:
    output = Output(options)
    try:
        profile = _new_profile(options)
        write_new(options.profile, render_profile(profile))
    except BucketFailed as error:
        output.fail(str(error), "unreachable")
        return 1
    except (UsageError, BadFile, ValueError) as error:
        output.fail(str(error), "usage_error")
        return exit_codes.USAGE
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
    """Raises `UsageError`, ValueError or `BucketFailed`."""
    if options.profile.exists():
        raise UsageError(f"{options.profile} already exists and was not changed. Name another file with --profile.")
    key = _key(options.key_file)
    if options.name and not options.names:
        raise UsageError("with --name you also need a name service: --names URL")
    prefixes = (_read_prefix(options.hub), *options.prefix)
    profile = Profile(
        key,
        options.app,
        options.hub,
        prefixes,
        options.name,
        tuple(options.names),
        tuple(options.allow),
    )
    check_profile(profile)
    return with_association(profile, options.association_token)


def with_association(profile: Profile, path: Path | None) -> Profile:
    """With the token in a file, if one is named. Raises `UsageError`."""
    if path is None:
        return profile
    changed = replace(profile, association=read_secret_text(path, "the token").strip())
    try:
        check_profile(changed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return changed


def _key(path: Path | None) -> AppKey:
    if path is None:
        return AppKey(secrets.token_bytes(32))
    text = _typed_key() if str(path) == "-" else read_secret_text(path, "the key, or -")
    try:
        return AppKey.from_hex(text.strip())
    except ValueError:
        raise UsageError(
            "that is not an app private key, which has 64 hex characters, or 66 that end with 01"
        ) from None


def _typed_key() -> str:
    if sys.stdin is None:
        raise UsageError("standard input is closed: give the file of the key with --import FILE")
    return getpass.getpass("app private key (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()


def _read_prefix(hub: str) -> str:
    info: dict[str, Any] = {}

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            info.update(await hub_info(session, hub))

    run(ask())
    return str(info["read_url_prefix"])
