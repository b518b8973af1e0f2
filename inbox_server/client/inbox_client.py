"""The complete client of this protocol: publish, send, read and wait for news, with one to three inbox servers.

Every method reports the result for each server that it asked: done, refused and why, or unreachable and to be
repeated later.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inbox_server.client.account import Account
from inbox_server.client.audit.auditing import Auditing
from inbox_server.client.inbox_api import PUSH, Sleep
from inbox_server.client.moving import Moving, Step, Tell
from inbox_server.client.own_card import catch_up
from inbox_server.client.profile_file import Move
from inbox_server.client.publish import Publishing
from inbox_server.client.reading import Reading
from inbox_server.client.reports import Audit, Entry, Message, News, Outcome, Sent, Unread
from inbox_server.client.sending import Sending
from inbox_server.client.watching import Watching


@dataclass(frozen=True, slots=True)
class InboxClient:
    """One user of one app. `open_client.py` makes one from a profile file."""

    account: Account
    sleep: Sleep = field(repr=False)

    async def publish(self, inboxes: tuple[str, ...]) -> int:
        """Write the app public key and a signed card that names one to three inboxes; the card's number.

        Raises `BucketFailed`, or ValueError for values that a card cannot have.
        """
        return await Publishing(self.account).publish(inboxes)

    async def claim(
        self, settings: Mapping[str, Any], *, inboxes: tuple[str, ...] | None = None
    ) -> tuple[Outcome, ...]:
        """Claim inboxes or change their settings; if none are named, those on the card."""
        return await Publishing(self.account).claim(settings, inboxes)

    async def settings(self) -> tuple[Outcome, ...]:
        """Each inbox's settings and state, in the outcome's `answer`."""
        return await Publishing(self.account).settings()

    async def subscribe(
        self, subscription: Mapping[str, Any], *, inbox: str, channel: str = PUSH
    ) -> tuple[Outcome, ...]:
        """Have a browser notified by Web Push of unread messages. Pass its `PushSubscription.toJSON()`.

        Only the server whose key (`push.vapid_key` in its capability document) was used to subscribe can use it.
        For the channel `matrix`, pass `{"room": …}`: a direct chat with that server's bot (`matrix.user_id`).
        For `webhook`, pass `{"url": …}`, such as a topic of ntfy, and `authorization` if it needs that header.
        """
        return await Publishing(self.account).at_inboxes((inbox,), lambda each: each.subscribe(subscription, channel))

    async def subscriptions(self, channel: str = PUSH) -> tuple[Outcome, ...]:
        """Each inbox's subscriptions to a channel, in the outcome's `answer`: short `id`, `service`, `since`."""
        return await Publishing(self.account).at_inboxes(None, lambda each: each.subscriptions(channel))

    async def unsubscribe(
        self, id: str | None, *, inboxes: tuple[str, ...] | None = None, channel: str = PUSH
    ) -> tuple[Outcome, ...]:
        """Drop a subscription by its short id, or with None all, at these inboxes or at all of them."""
        return await Publishing(self.account).at_inboxes(inboxes, lambda each: each.unsubscribe(id, channel))

    async def forget(self, *, inboxes: tuple[str, ...] | None = None) -> tuple[Outcome, ...]:
        """Delete inboxes and everything in them; all if none are named. Raises `BucketFailed`."""
        return await Publishing(self.account).forget(inboxes)

    async def send(
        self, recipient: str, content: str | bytes, *, ttl: int | None = None, may_sign: bool = False
    ) -> Sent:
        """Send a message to a name, an app public key or an app address. `ttl`: seconds that the ID may lie unread.

        `may_sign`: even if earlier messages to this recipient went sealed.

        Raises `NotReachable`, `NotForNow` or `BucketFailed`; then nothing was sent. Otherwise the outbox keeps what did
        not reach an inbox, and `retry` repeats it.
        """
        return await Sending(self.account).send(recipient, content, ttl, may_sign=may_sign)

    async def retry(self) -> tuple[Sent, ...]:
        """Repeat the deliveries in the outbox that may be tried now."""
        return await Sending(self.account).retry()

    async def unread(self) -> Unread:
        """Everything that is unread, merged from all inboxes. Listing removes nothing."""
        return await Reading(self.account).unread()

    async def fetch(self, entry: Entry) -> Message:
        """The message of an entry, from its sender's bucket, verified.

        Raises `NotAuthentic` (repeating is useless), `NotReachable` or `NotForNow`.
        """
        return await Reading(self.account).fetch(entry)

    async def acknowledge(self, entries: Iterable[Entry]) -> tuple[Outcome, ...]:
        """Acknowledge these entries at every inbox; one that is down is told later."""
        return await Reading(self.account).acknowledge(id for entry in entries for id in entry.ids)

    def watch(self, *, count: int | None = None) -> AsyncGenerator[News, None]:
        """News of all inboxes as it comes: first what came since the last time. Close it to stop (`aclosing`).

        With `count`, it ends after that many entries, and the next watch continues after them.
        """
        return Watching(self.account, self.sleep).news(count=count)

    async def audit(self) -> Audit:
        """Whether the own inboxes show everything that arrived: their logs, held against what was seen and sent.

        It raises nothing: what cannot be checked is a finding too. `found` in the result is what an inbox does not
        show and a contact's bucket has; `fetch` reads it.
        """
        return await Auditing(self.account).audit()

    async def catch_up(self) -> tuple[str, ...]:
        """Take over what another device published; returns the inboxes if they have changed. Raises `BucketFailed`.

        Call this before `publish` if you rely on the profile's inboxes, which may be out of date.
        """
        return await catch_up(self.account)

    def move(
        self, new: str, *, old: str | None = None, invite: str | None = None, on_wait: Tell | None = None
    ) -> AsyncIterator[Step]:
        """Move to another server, reporting each step. If it was cut off, repeat it.

        It calls `on_wait` when a server's rate limit makes it wait.
        Raises `CannotMove`, `InboxRefused`, `Unreachable` or `BucketFailed`.
        """
        return Moving(self.account, Publishing(self.account), self.sleep, on_wait).move(new, old=old, invite=invite)

    async def abandon_move(self) -> Move | None:
        """Abandon a move while no card shows it; returns the move. Raises `CannotMove` or `BucketFailed`."""
        return await Moving(self.account, Publishing(self.account), self.sleep).abandon()
