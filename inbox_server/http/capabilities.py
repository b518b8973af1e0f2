"""The capability document: what this server is and what it accepts, for everyone to read."""

from collections.abc import Collection
from typing import Any, Final

from inbox_server import __version__
from inbox_server.config.config import Config
from inbox_server.identity.keys import PublicKey
from inbox_server.inbox_log import LOG_ENTRIES
from inbox_server.inboxes.wakeups import MAX_WAITING_READERS
from inbox_server.notify.channel import OwnerChannel
from inbox_server.protocol.bearer import MAX_TOKEN_CHARACTERS
from inbox_server.protocol.feed_json import DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES, MAX_WAIT_SECONDS
from inbox_server.protocol.requests import (
    MAX_ACK_IDS,
    MAX_MESSAGE_ID_CHARACTERS,
    MAX_PROVEN_NAMES,
    MAX_SUBSCRIPTIONS,
    MIN_RETENTION_SECONDS,
    MIN_TTL_SECONDS,
)
from inbox_server.protocol.tickets import SHEET_SIZES
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS

PROTOCOL_VERSION: Final = 1
FEATURES: Final = ("log", "receipts", "sealed")
"""What every server of this version accepts beyond the first version 1; docs/protocol.md says what each name means."""


def capabilities(
    config: Config, channels: Collection[OwnerChannel], receipt_key: PublicKey, *, draining: bool = False
) -> dict[str, Any]:
    """What an app needs to know before it signs anything. `channels` are those to which owners can subscribe here."""
    return {
        "protocol": "message-inbox",
        "version": PROTOCOL_VERSION,
        "origin": config.public_url,
        "registration": config.registration,
        "features": sorted({*FEATURES, *(channel.kind.feature for channel in channels)}),
        "limits": {
            "message_id_characters": MAX_MESSAGE_ID_CHARACTERS,
            "token_characters": MAX_TOKEN_CHARACTERS,
            "clock_skew_seconds": CLOCK_SKEW_SECONDS,
            "min_ttl_seconds": MIN_TTL_SECONDS,
            "min_retention_seconds": MIN_RETENTION_SECONDS,
            "default_retention_seconds": config.default_retention_seconds,
            "max_retention_seconds": config.max_retention_seconds,
            "inbox_entries": config.inbox_entries,
            "inbox_bytes": config.inbox_bytes,
            "inbox_read_entries": config.inbox_read_entries,
            "log_entries": LOG_ENTRIES,
            "list_entries": config.list_entries,
            "names": MAX_PROVEN_NAMES,
            "default_page_entries": DEFAULT_PAGE_ENTRIES,
            "max_page_entries": MAX_PAGE_ENTRIES,
            "ack_ids": MAX_ACK_IDS,
            "wait_seconds": MAX_WAIT_SECONDS,
            "waiting_readers": MAX_WAITING_READERS,
            "push_subscriptions": MAX_SUBSCRIPTIONS,
            "sheet_tickets": SHEET_SIZES[-1],
        },
        **({"draining": True} if draining else {}),
        "receipts": {"key": receipt_key.hex},
        **{channel.kind.name: channel.capability() for channel in channels},
        "software": f"inbox-server/{__version__}",
    }
