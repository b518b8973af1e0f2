"""Notifications to one URL that the operator configures, for self-hosters: ntfy shows them on a phone.

The webhook is called when anything arrives for any inbox of this server. It never learns which inbox.
Owners' own webhooks are in `owners_webhook.py`.
"""

from collections.abc import Collection
from typing import Final

from inbox_server.notify.channel import TEXT, Tally
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable

_WHOLE_SERVER: Final = b"any inbox"


class Webhook:
    """Implements `channel.Channel`. The URL is trusted as the operator wrote it."""

    name: Final = "operator_webhook"
    at_once: Final = 1

    def __init__(self, fetcher: Fetcher, url: str, authorization: str) -> None:
        self._fetcher = fetcher
        self._url = url
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if authorization:
            self._headers["Authorization"] = authorization
        self.tally = Tally()

    def about(self, inbox: bytes, channels: Collection[str]) -> bytes | None:  # noqa: ARG002 — the same for every inbox
        return _WHOLE_SERVER

    async def notify(self, inbox: bytes) -> None:  # noqa: ARG002 — never sent
        try:
            await self._fetcher.post(self._url, TEXT, self._headers, configured=True)
        except (Absent, Unreachable):
            self.tally.failed += 1
        else:
            self.tally.sent += 1
