"""What `server.py` puts into an application for the handlers to use."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from inbox_server.clock import Clock
from inbox_server.clock_guard import ClockGuard
from inbox_server.config.config import Config
from inbox_server.identity.keys import PublicKey
from inbox_server.inboxes.deliver import Deliveries
from inbox_server.inboxes.deliver_sealed import SealedDeliveries
from inbox_server.inboxes.log import Logs
from inbox_server.inboxes.read import Reading
from inbox_server.inboxes.settings import InboxSettings
from inbox_server.inboxes.sheets import Sheets
from inbox_server.inboxes.subscriptions import Subscriptions
from inbox_server.metrics import Metrics

CLOCK: Final = web.AppKey[Clock]("clock")
CLOCK_GUARD: Final = web.AppKey("clock_guard", ClockGuard)
CONFIG: Final = web.AppKey("config", Config)
DELIVERIES: Final = web.AppKey("deliveries", Deliveries)
SEALED_DELIVERIES: Final = web.AppKey("sealed_deliveries", SealedDeliveries)
SHEETS: Final = web.AppKey("sheets", Sheets)
METRICS: Final = web.AppKey("metrics", Metrics)
INBOX_SETTINGS: Final = web.AppKey("inbox_settings", InboxSettings)
SUBSCRIPTIONS: Final = web.AppKey[Mapping[str, Subscriptions]]("subscriptions")
"""Those of each channel, by its name."""
LOGS: Final = web.AppKey("logs", Logs)
RECEIPT_KEY: Final = web.AppKey("receipt_key", PublicKey)
READING: Final = web.AppKey("reading", Reading)
IS_OURS: Final = web.AppKey[Callable[[str], bool]]("is_ours")
"""Whether a Host header names this server."""
LARGE_BODIES: Final = web.AppKey("large_bodies", asyncio.Lock)
"""Requests with a large body proceed one by one, with others in between: reading 1,000 addresses takes 9 ms."""
WAITS: Final = web.RequestKey("waits", bool)
"""Marks a request that may be held for long: when its client leaves, the request is cancelled."""
