"""Making a client from a profile: its connections, look-ups and files."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from inbox_server.client.account import Account
from inbox_server.client.bucket import Bucket
from inbox_server.client.http_sessions import Sessions, is_loopback, open_sessions
from inbox_server.client.inbox_api import Patience, Sleep
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.outbox import Outbox, parse_outbox, render_outbox
from inbox_server.client.profile_file import Profile, parse_profile, render_profile
from inbox_server.client.storage import InFile, Keeper
from inbox_server.client.user import AppUser
from inbox_server.clock import Clock, system_clock
from inbox_server.outgoing.fetch import Fetcher, open_fetcher
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.service import NameServices


def profile_file(path: Path) -> InFile[Profile]:
    """The profile in a file, which must exist."""
    return InFile(path, parse_profile, render_profile)


def outbox_file(profile: Path) -> InFile[Outbox]:
    """The outbox beside a profile's file."""
    return InFile(profile.with_name(f"{profile.stem}.outbox.json"), parse_outbox, render_outbox, missing={})


@contextlib.asynccontextmanager
async def open_client(
    profile: Keeper[Profile],
    outbox: Keeper[Outbox],
    *,
    clock: Clock = system_clock,
    sleep: Sleep = asyncio.sleep,
    patience_seconds: float = 0.0,
    traces: tuple[aiohttp.TraceConfig, ...] = (),
) -> AsyncIterator[InboxClient]:
    """A client, until the context ends. It makes no request before it has to. Raises `BadFile`.

    `patience_seconds`: how long one request may wait for a server that sends `Retry-After`.
    """
    known = profile.read()
    # The user's own URLs are trusted as written; URLs from others must be on the public web.
    allow = frozenset(known.allow) | {_origin(url) for url in (*known.prefixes, known.hub)}
    async with (
        open_sessions(allow, is_local=is_loopback(known.hub), traces=traces) as sessions,
        open_fetcher(allow=allow) as fetcher,
    ):
        user = _user(known, sessions, fetcher, clock, sleep)
        account = Account(user, sessions, profile, outbox, Patience(patience_seconds, sleep))
        yield InboxClient(account, sleep)


def _user(profile: Profile, sessions: Sessions, fetcher: Fetcher, clock: Clock, sleep: Sleep) -> AppUser:
    key = profile.key
    url, salt = f"{profile.prefixes[0]}{key.address}/", secrets.token_bytes(16)
    names = NameServices(fetcher, profile.services, agreement=False)
    return AppUser(
        profile.name,
        profile.app,
        key,
        Bucket(sessions.trusted, profile.hub, url, key, salt, profile.association, clock, sleep),
        ChainResolver(fetcher, names, ()),
        fetcher,
        clock,
        secrets.token_bytes,
        profile.prefixes,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
