"""What contacts' own buckets say that they sent: for an audit, and for when none of the own inboxes answers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.judging import ContactEntry
from inbox_server.client.index import BadIndex, read_index
from inbox_server.client.pairs import Pair, week_of
from inbox_server.client.reports import Entry
from inbox_server.client.tokens_and_cards import Pointer
from inbox_server.client.user import NotForNow, NotReachable
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import parse_key

_AT_ONCE: Final = 8
_HEARD_SECONDS: Final = 40 * DAY_SECONDS  # longer than an outbox repeats a delivery
_MOST_SHARED: Final = 128  # of those whom only another device has met: their indexes are asked for every day
WEEKS: Final = 5  # the retention at the default, and the week that has begun


@dataclass(frozen=True, slots=True)
class Contact:
    """`key` is empty for somebody of whom only the address is known, from the list of contacts."""

    identity: str
    key: str = ""
    url: str = ""


class ContactIndexes:
    def __init__(self, account: Account) -> None:
        self._account = account
        self.problems: list[tuple[str, str]] = []
        """Whose index could not be read, and why."""

    def contacts(self) -> Iterator[Contact]:
        """Those from whom messages came lately, on the list that the profile has set, or known to other devices."""
        profile, heard = self._account.profile.read(), set()
        blocked = set(profile.settings.get("blocked", ()))
        for key, person in profile.remembered.people.items():
            address = parse_key(key).address
            heard.add(address)
            if address not in blocked and self._account.now - person.at < _HEARD_SECONDS:
                yield Contact(person.identity, key, person.url)
        yield from (Contact(address) for address in profile.settings.get("contacts", ()) if address not in heard)
        heard.update(profile.settings.get("contacts", ()), blocked)
        for key in profile.sealing.contacts[-_MOST_SHARED:]:
            if parse_key(key).address not in heard:
                yield Contact(key, key)  # found only below our prefixes: other devices know no name

    async def read(self, weeks: int = WEEKS) -> tuple[ContactEntry, ...]:
        """The entries of this week's indexes and those before. One that is not there is empty."""
        this, gate = week_of(self._account.now), asyncio.Semaphore(_AT_ONCE)

        async def of_contact(contact: Contact) -> list[ContactEntry]:
            async with gate:
                try:
                    return [entry async for entry in self._of_contact(contact, range(this - weeks + 1, this + 1))]
                except (NotForNow, NotReachable, BadIndex) as error:
                    self.problems.append((contact.identity, str(error)))
                    return []

        read = await asyncio.gather(*map(of_contact, self.contacts()))
        return tuple(entry for entries in read for entry in entries)

    async def _of_contact(self, contact: Contact, weeks: Iterable[int]) -> AsyncIterator[ContactEntry]:
        user = self._account.user
        key = contact.key or await user.key_of(contact.identity)
        if not key:
            return
        pair = Pair.of(key, user.key)
        for week in weeks:
            content = await user.fetch_file(contact.identity, contact.url, key, pair.index_path(week))
            if content is not None:
                for entry in read_index(content, pair, week, user.key):
                    yield ContactEntry(contact.identity, key, contact.url, entry)


def entry_from_index(sent: ContactEntry, app: str) -> Entry:
    """As `fetch` reads it: no inbox has shown it."""
    pointer = Pointer(sent.entry.id, sent.sender, app, sent.url)
    return Entry((sent.entry.entry,), pointer, sent.entry.expires, ())


def not_read(sent: Iterable[ContactEntry], account: Account) -> tuple[Entry, ...]:
    """What has not expired and was not read on this device, each entry once."""
    profile = account.profile.read()
    read = {*profile.remembered.read, *(id for ids in profile.to_ack.values() for id in ids)}
    now = UnixTime(account.now)
    kept = {each.entry.entry: each for each in sent if each.entry.expires > now and each.entry.entry not in read}
    return tuple(entry_from_index(each, account.user.app) for each in kept.values())
