"""What contacts' own buckets say that they sent: for an audit, and for when none of the own inboxes answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.judging import ContactEntry
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.index import BadIndex, read_index
from inbox_server.client.own_file import OwnFile
from inbox_server.client.pairs import Pair, week_of
from inbox_server.client.people import Known
from inbox_server.client.remembered import Person
from inbox_server.client.reports import Entry
from inbox_server.client.sheets import PEOPLE
from inbox_server.client.tokens_and_cards import Pointer
from inbox_server.client.user import NotForNow, NotReachable
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keys import parse_key

_AT_ONCE: Final = 8
_HEARD_SECONDS: Final = 40 * DAY_SECONDS  # longer than an outbox repeats a delivery
_MOST_SHARED: Final = 128  # of those whom another device has met: their indexes are asked for every day
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
        self._file = OwnFile(account.user, PEOPLE)
        self.problems: list[tuple[str, str]] = []
        """Whose index could not be read, and why."""

    def contacts(self, shared: Mapping[str, Known]) -> Iterator[Contact]:
        """Those whose messages came lately, with whom any device has spoken, or on the list that the profile has set.

        `shared` is what all devices know of people; whom one of them has blocked is left out.
        """
        profile = self._account.profile.read()
        out = {parse_key(key).address for key, known in shared.items() if known.out}
        out.update(profile.settings.get("blocked", ()))
        found = {
            key: Contact(person.identity, key, person.url)
            for key, person in profile.remembered.people.items()
            if self._account.now - person.at < _HEARD_SECONDS
        }
        for key in [key for key, known in shared.items() if known.has_tickets][-_MOST_SHARED:]:
            met = profile.remembered.people.get(key) or Person(shared[key].name or key)
            found.setdefault(key, Contact(met.identity, key, met.url))
        by_address = {parse_key(key).address: contact for key, contact in found.items()}
        listed = {address: Contact(address) for address in profile.settings.get("contacts", ())}
        yield from (contact for address, contact in (listed | by_address).items() if address not in out)

    async def _shared(self) -> Mapping[str, Known]:
        """As the devices' file says now, or as this device last read it."""
        known = self._account.profile.read().sealing.people
        with contextlib.suppress(BucketFailed):
            return {**known, **(await self._file.read())[0].known}
        return known

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

        read = await asyncio.gather(*map(of_contact, self.contacts(await self._shared())))
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
