"""The client of this protocol, whole: publish, send, read and wait for news, over one to three inbox servers.

Every method tells the truth about each server that it asked: done, refused and why, or not reachable and repeated
later.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inbox_server.client.account import Account
from inbox_server.client.inbox_api import Inbox, Sleep
from inbox_server.client.moving import Moving, Step, Tell
from inbox_server.client.own_card import catch_up
from inbox_server.client.profile_file import Move
from inbox_server.client.publish import Publishing
from inbox_server.client.reading import Reading
from inbox_server.client.reports import Entry, Message, News, Outcome, Sent, Unread
from inbox_server.client.sending import Sending
from inbox_server.client.watching import Watching


@dataclass(frozen=True, slots=True)
class InboxClient:
    """One user of one app. `open_client.py` makes one from a profile file."""

    account: Account
    sleep: Sleep = field(repr=False)

    async def publish(self, inboxes: tuple[str, ...]) -> int:
        """Write the app public key and a signed card that names one to three inboxes; the card's number.

        Raises `BucketFailed`, or ValueError for what cannot stand on a card.
        """
        return await Publishing(self.account).publish(inboxes)

    async def claim(
        self, settings: Mapping[str, Any], *, inboxes: tuple[str, ...] | None = None
    ) -> tuple[Outcome, ...]:
        """Claim the inboxes, those on the card if none are named, or change their settings."""
        return await Publishing(self.account).claim(settings, inboxes)

    async def settings(self) -> tuple[Outcome, ...]:
        """Each inbox's settings and state, in the outcome's `answer`."""
        return await Publishing(self.account).settings()

    async def subscribe(self, subscription: Mapping[str, Any], *, inbox: str) -> tuple[Outcome, ...]:
        """Have a browser told by Web Push that something waits: what `PushSubscription.toJSON()` gave there.

        It is of use to the one server with whose key (`push.vapid_key` of its capability document) it was made.
        """
        return await Publishing(self.account).at_inboxes((inbox,), lambda each: each.subscribe(subscription))

    async def subscriptions(self) -> tuple[Outcome, ...]:
        """Each inbox's push subscriptions, in the outcome's `answer`: short `id`, `service`, `since`."""
        return await Publishing(self.account).at_inboxes(None, Inbox.subscriptions)

    async def unsubscribe(self, id: str, *, inboxes: tuple[str, ...] | None = None) -> tuple[Outcome, ...]:
        """Drop a subscription by its short id, at these inboxes or at all."""
        return await Publishing(self.account).at_inboxes(inboxes, lambda each: each.unsubscribe(id))

    async def forget(self, *, inboxes: tuple[str, ...] | None = None) -> tuple[Outcome, ...]:
        """Give inboxes up, with everything in them; all if none are named. Raises `BucketFailed`."""
        return await Publishing(self.account).forget(inboxes)

    async def send(self, recipient: str, content: str | bytes, *, ttl: int | None = None) -> Sent:
        """Send a message to a name, an app public key or an app address. `ttl`: seconds that the ID may lie unread.

        Raises `NotReachable`, `NotForNow` or `BucketFailed`, and then nothing was sent. Otherwise what did not reach an
        inbox is in the outbox, and `retry` repeats it.
        """
        return await Sending(self.account).send(recipient, content, ttl)

    async def retry(self) -> tuple[Sent, ...]:
        """Deliver again what waits in the outbox and may be tried now."""
        return await Sending(self.account).retry()

    async def unread(self) -> Unread:
        """Everything that is unread, merged over the inboxes; listing removes nothing."""
        return await Reading(self.account).unread()

    async def fetch(self, entry: Entry) -> Message:
        """The message of an entry, from its sender's bucket, verified.

        Raises `NotAuthentic` (it will not get better), or `NotReachable` or `NotForNow`.
        """
        return await Reading(self.account).fetch(entry)

    async def acknowledge(self, entries: Iterable[Entry]) -> tuple[Outcome, ...]:
        """Say at every inbox that these are read; one that is down is told later."""
        return await Reading(self.account).acknowledge(id for entry in entries for id in entry.ids)

    def watch(self, *, count: int | None = None) -> AsyncGenerator[News, None]:
        """News of all inboxes as they come: first what came since the last time. Close it to stop (`aclosing`).

        With `count` it ends after so many entries, and the next watch goes on behind them.
        """
        return Watching(self.account, self.sleep).news(count=count)

    async def catch_up(self) -> tuple[str, ...]:
        """Take over what another device published: the inboxes, if they are others now. Raises `BucketFailed`.

        To be asked before `publish` by whoever goes by the profile's inboxes, which may be old.
        """
        return await catch_up(self.account)

    def move(
        self, new: str, *, old: str | None = None, invite: str | None = None, on_wait: Tell | None = None
    ) -> AsyncIterator[Step]:
        """Move to another server, telling each step; repeat it when it was cut off.

        `on_wait` is told, when it is so, that a server's rate makes it wait.
        Raises `CannotMove`, `InboxRefused`, `Unreachable` or `BucketFailed`.
        """
        return Moving(self.account, Publishing(self.account), self.sleep, on_wait).move(new, old=old, invite=invite)

    async def abandon_move(self) -> Move | None:
        """Leave off a move while no card tells of it; which it was. Raises `CannotMove` or `BucketFailed`."""
        return await Moving(self.account, Publishing(self.account), self.sleep).abandon()
