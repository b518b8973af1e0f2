"""Reading: merge what is unread at every inbox, fetch its messages, and acknowledge it everywhere.

The profile notes what was read before any inbox is told, and drops the note afterwards. So an inbox that was down is
told later, and until then its entries are not shown again.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from inbox_server.client.account import Account, Action
from inbox_server.client.audit.contacts import ContactIndexes, not_read
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.ecies import CannotDecrypt, decrypt
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.own_card import catch_up
from inbox_server.client.pages import Listed, Whole, page_of
from inbox_server.client.pairs import Pair
from inbox_server.client.profile_file import Profile
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.remembered import Person, Remembered
from inbox_server.client.reports import Entry, Message, Outcome, Unread
from inbox_server.client.tokens_and_cards import Pointer, is_of_pair, read_pointer
from inbox_server.client.user import NotAuthentic, NotForNow, NotThere
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import PublicKey
from inbox_server.inbox_log import is_logged

_READ_SECONDS: Final = 91 * DAY_SECONDS  # for longer, no server lists anything
_CLOCK_SECONDS: Final = 120  # we know a server's clock to a minute
_ACK_IDS: Final = 1000
# A missing message may come back: a name is renewed late, or a host is repaired after a weekend. Waiting costs a line
# in the list; giving up loses a message.
LAPSE_SECONDS: Final = 3 * DAY_SECONDS


class Reading:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def unread(self) -> Unread:
        """Everything that is unread at any inbox, each entry once.

        If an inbox is gone, the own card may show where another device has moved it. If none answers for now, contacts'
        buckets are read instead.
        """
        unread = await self._unread()
        if any(outcome.code == "no_inbox" for outcome in unread.outcomes) and (taken := await self.catch_up()):
            return replace(await self._unread(), taken_over=taken)
        if unread.outcomes and all(outcome.state == "later" for outcome in unread.outcomes):
            found = await self.without_server()
            return replace(unread, entries=found, without_server=bool(found))
        return unread

    async def without_server(self) -> tuple[Entry, ...]:
        """What contacts' buckets say that they sent, and that was not read on this device."""
        return not_read(await ContactIndexes(self._account).read(), self._account)

    async def catch_up(self) -> tuple[str, ...]:
        """The inboxes that another device has put on the card, if they differ; () also if that cannot be found out."""
        with contextlib.suppress(BucketFailed):
            return await catch_up(self._account)
        return ()

    async def _unread(self) -> Unread:
        listed: dict[str, dict[str, Listed]] = {}

        async def collect(inbox: Inbox) -> None:
            await self.tell_if_taken(inbox)
            listed[inbox.url] = {entry.id: entry for entry in (await self.list_all(inbox)).entries}
            await self.tell_again(inbox, listed[inbox.url])

        outcomes = await self.at_sources(collect)
        in_order = {outcome.inbox: listed[outcome.inbox] for outcome in outcomes if outcome.inbox in listed}
        return Unread(self.merge(in_order), outcomes)

    def merge(self, listed: Mapping[str, Mapping[str, Listed]]) -> tuple[Entry, ...]:
        """Entries by `id` over the inboxes, and by sender and message where one was delivered twice.

        Only the servers leave out expired entries, by their clocks: the clock here may be wrong and hide unread ones.
        """
        profile = self._account.profile.read()
        read = {*profile.remembered.read, *(id for ids in profile.to_ack.values() for id in ids)}
        merged: dict[str, Entry] = {}
        by_pointer: dict[tuple[str, str], str] = {}
        for url, entries in listed.items():
            for entry in entries.values():
                if entry.id in read:
                    continue
                pointer = self.open_pointer(entry.message_id) if entry.id not in merged else merged[entry.id].pointer
                one = Entry((entry.id,), pointer, entry.expires, (url,))
                first = by_pointer.setdefault((pointer.sender, pointer.id), entry.id) if pointer else entry.id
                merged[first] = _joined(merged[first], one) if first in merged else one
        return tuple(merged.values())

    def open_pointer(self, message_id: str) -> Pointer | None:
        """The decrypted pointer of an entry; None if it was not written for us."""
        try:
            return read_pointer(decrypt(self._account.user.key, message_id))
        except (CannotDecrypt, ValueError):
            return None

    async def fetch(self, entry: Entry) -> Message:
        """The message of an entry, verified. Raises `NotAuthentic`, `NotReachable` or `NotForNow`.

        A missing message is `NotForNow` until it has been missing for `LAPSE_SECONDS`, then `NotAuthentic`.
        """
        pointer = entry.pointer
        if pointer is None:
            raise NotAuthentic("the entry is not encrypted to this key, or is not a message of this protocol")
        try:
            content, key = await self._account.user.fetch_signed(pointer)
        except NotThere as error:
            if await self._has_lapsed(entry.ids[0]):
                raise NotAuthentic(f"{error}, and was not for {LAPSE_SECONDS // DAY_SECONDS} days") from None
            raise NotForNow(str(error)) from None
        except NotForNow:
            self._miss(entry.ids[0], self._account.profile.read().missed.get(entry.ids[0], 0))
            raise
        except NotAuthentic:
            self.forget_missed(entry.ids)
            raise
        self.forget_missed(entry.ids)
        if self._is_blocked(key):  # before that, or with a ticket of before, it could be delivered
            raise NotAuthentic("the sender is blocked")
        if not is_of_pair(pointer, Pair.of(key.hex, self._account.user.key)):
            raise NotAuthentic("the entry names a message that its sender did not send with it")
        self._note_sender(pointer, key.hex)
        return Message(pointer.id, pointer.sender, key.hex, content)

    def _is_blocked(self, key: PublicKey) -> bool:
        """On whichever device, as far as this one knows."""
        profile = self._account.profile.read()
        known = profile.sealing.people.get(key.hex)
        return key.address in profile.settings.get("blocked", ()) or bool(known and known.out)

    def _note_sender(self, pointer: Pointer, key: str) -> None:
        """Who wrote, and which number: a gap shows that something has not come."""
        now, link = self._account.now, pointer.link
        before = self._account.profile.read().remembered.people.get(key)
        person = replace(before or Person(pointer.sender), identity=pointer.sender, url=pointer.url, at=now)
        numbered = person.with_number(link.n) if link else person
        if before is None or replace(numbered, at=before.at) != before or now - before.at > DAY_SECONDS:
            self._account.profile.change(
                lambda profile: profile.with_remembered(partial(Remembered.with_person, key=key, person=numbered))
            )

    async def _has_lapsed(self, id: str) -> bool:
        """Whether the message has been missing for too long, by an own inbox's time. Notes the first time."""
        since, now = self._account.profile.read().missed.get(id, 0), 0
        if await self._account.is_time_known():
            now = self._account.now
            since = min(since or now, now)
        self._miss(id, since)
        return now - since >= LAPSE_SECONDS

    def _miss(self, id: str, since: int) -> None:
        if self._account.profile.read().missed.get(id) != since:
            self._account.profile.change(partial(Profile.with_missed, id=id, since=since))

    def forget_missed(self, ids: Iterable[str]) -> None:
        """Drop the notes on messages that were fetched or are no longer needed."""
        if over := self._account.profile.read().missed.keys() & set(ids):
            self._account.profile.change(partial(Profile.without_missed, ids=over))

    async def acknowledge(self, ids: Iterable[str]) -> tuple[Outcome, ...]:
        """Acknowledge these everywhere. An inbox that cannot be told now is told later."""
        noted, now = tuple(dict.fromkeys(ids)), self._account.now
        until = now + _READ_SECONDS
        profile = self._account.profile.change(
            lambda profile: profile.with_to_ack(noted).with_remembered(
                partial(Remembered.with_read, ids=noted, until=until, now=now)
            )
        )
        return await self._at_each(profile, self.tell_read)

    async def at_sources(self, action: Action) -> tuple[Outcome, ...]:
        """Do the same at every inbox to read from."""
        return await self._at_each(self._account.profile.read(), action)

    async def _at_each(self, profile: Profile, action: Action) -> tuple[Outcome, ...]:
        """Ask all inboxes, except one that a move deleted just before the move was cut off."""
        outcomes = await self._account.at_each(profile.sources, action)
        left = profile.move.old if profile.move else None
        return tuple(each for each in outcomes if (each.inbox, each.code) != (left, "no_inbox"))

    async def tell_read(self, inbox: Inbox) -> None:
        """Tell an inbox what was read while it was unreachable. Raises the same as `Inbox.acknowledge`."""
        while ids := self._account.profile.read().to_ack.get(inbox.url, ())[:_ACK_IDS]:
            await inbox.acknowledge(list(ids))
            self._account.profile.change(partial(Profile.with_acked, inbox=inbox.url, ids=ids))

    async def tell_if_taken(self, inbox: Inbox) -> None:
        """The same before reading: a server that takes no acknowledgement for now may show what is unread.

        Raises only what makes reading useless.
        """
        try:
            await self.tell_read(inbox)
        except InboxRefused as refusal:
            if refusal.code == "no_inbox":
                raise

    async def tell_again(self, inbox: Inbox, listed: Iterable[str]) -> None:
        """Acknowledge again what was read on any device, and is listed again, as after a restore from a copy."""
        profile = self._account.profile.read()
        noted = profile.to_ack.get(inbox.url, ())
        if again := [id for id in listed if id in profile.remembered.read and id not in noted]:
            self._account.profile.change(lambda profile: profile.with_to_ack_at(inbox.url, again))
            with contextlib.suppress(InboxRefused, Unreachable):
                await self.tell_read(inbox)

    async def list_all(self, inbox: Inbox) -> Whole:
        """Everything that is unread at an inbox. Raises the same as `Inbox.unread`."""
        entries: dict[str, Listed] = {}
        swapped: list[str] = []
        cursor: str | None = None
        while True:
            page = await page_of(inbox, cursor)
            for entry in page.messages:
                entries[entry.id] = entry
            for id in page.read:  # read while the pages were being fetched
                entries.pop(id, None)
            swapped += page.swapped
            cursor = page.cursor
            if not page.more:
                break
        self.mark(inbox.url, cursor)
        self.note_listed(inbox.url, entries.values() if not swapped else ())
        return Whole(tuple(entries.values()), cursor, tuple(swapped))

    def note_listed(self, url: str, entries: Iterable[Listed]) -> None:
        """Remember what an inbox with a log has listed: the next audit looks for it there.

        Not what is in a page with swapped texts, which is a finding by itself.
        """
        remembered = self._account.profile.read().remembered
        if url not in remembered.receipt_keys:
            return
        known, now = remembered.listed.get(url, {}), UnixTime(self._account.own(url).now + _CLOCK_SECONDS)
        fresh = {entry.id: entry.expires if is_logged(entry.expires, now) else 0 for entry in entries}
        new = {id: until for id, until in fresh.items() if until > known.get(id, -1)}
        if new:
            self._account.profile.change(
                lambda profile: profile.with_remembered(partial(Remembered.with_listed, inbox=url, ids=new))
            )

    def note_read(self, ids: Iterable[str]) -> None:
        """Remember what was read on any device: it need not be shown again if it is found elsewhere."""
        now = self._account.now
        remembered = self._account.profile.read().remembered
        if new := [id for id in ids if id not in remembered.read]:
            change = partial(Remembered.with_read, ids=new, until=now + _READ_SECONDS, now=now)
            self._account.profile.change(lambda profile: profile.with_remembered(change))

    def mark(self, url: str, cursor: str) -> None:
        """Keep the first cursor of each day: from there, a move asks what has been read."""
        day = self._account.own(url).now // DAY_SECONDS
        if str(day) not in self._account.profile.read().marks.get(url, {}):
            self._account.profile.change(lambda profile: profile.with_mark(url, day, cursor))


def _joined(one: Entry, other: Entry) -> Entry:
    return replace(
        one,
        ids=tuple(dict.fromkeys(one.ids + other.ids)),
        expires=max(one.expires, other.expires),
        inboxes=tuple(dict.fromkeys(one.inboxes + other.inboxes)),
    )
