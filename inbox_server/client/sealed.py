"""What a profile remembers of sealed delivery: whom its owner gave tickets, and which tickets of others it has used."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from inbox_server.client.people import Known, People
from inbox_server.client.tickets import MOST_IDS, PER, Sheet
from inbox_server.clock import UnixTime

_MOST_PEOPLE: Final = 1000
_MOST_TO_CARD: Final = 256  # tickets of a contact in a week


class BadOffer(ValueError):
    """A card says something of tickets that is not of the protocol."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a card says of its owner's tickets: how many each contact has in a week, and of which edition they are."""

    per: int
    edition: int


def offer_in(claims: Mapping[str, Any]) -> Offer | None:
    """None if a card offers no tickets. Raises `BadOffer`."""
    if "sealed" not in claims:
        return None
    sealed = claims["sealed"]
    per, edition = (sealed.get(name) if isinstance(sealed, dict) else None for name in ("per", "edition"))
    if type(per) is not int or type(edition) is not int or not 1 <= per <= _MOST_TO_CARD or not 0 <= edition < 1 << 53:
        raise BadOffer
    return Offer(per, edition)


@dataclass(frozen=True, slots=True)
class Used:
    """How many tickets of a sheet were used up, from the first one."""

    week: int
    edition: int
    count: int


@dataclass(frozen=True, slots=True)
class Sealing:
    """`is_on`: whether to give tickets and to use others'."""

    is_on: bool = True
    edition: int = 0
    """Of the sheets that were made last, for `contacts`; 0 before the first."""
    contacts: tuple[str, ...] = ()
    given: Mapping[str, int] = field(default_factory=dict)
    """By own inbox: the edition of the sheets that it has."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """By own inbox: when all its sheets were last sent, whether it had them or not."""
    used: Mapping[str, Used] = field(default_factory=dict)
    """By another's key and inbox: the tickets that were used there."""
    reached: tuple[str, ...] = ()
    """Keys to which something was delivered sealed. Nothing is signed for them any more without being told to."""
    signs: tuple[str, ...] = ()
    """Keys for which the user has decided to sign, although a device has reached them sealed."""
    people: Mapping[str, Known] = field(default_factory=dict)
    """By key: what all devices knew when this one last read their file."""
    blocks: Mapping[str, tuple[bool, int]] = field(default_factory=dict)
    """By address: whether this device has blocked somebody or taken that back, and when."""
    fault: str = ""
    """Why no sheets were sent the last time, if an inbox takes none or the devices' file was not to be used."""

    @property
    def per(self) -> int:
        """How many tickets each contact gets: as many as a sheet has room for."""
        per = PER
        while per > 1 and per * len(self.contacts) > MOST_IDS:
            per //= 2
        return per

    def with_people(self, people: People) -> "Sealing":
        """A copy that has taken over what the devices' file says."""
        return replace(self, edition=people.edition, contacts=people.contacts, people=people.known, fault="")

    def with_blocked(self, addresses: Iterable[str], now: UnixTime) -> "Sealing":
        """A copy that notes what has changed in this device's list of blocked people."""
        blocked = set(addresses)
        changed = blocked ^ {address for address, (is_blocked, _) in self.blocks.items() if is_blocked}
        noted = {address: (address in blocked, now) for address in sorted(changed)}
        return replace(self, blocks={**self.blocks, **noted}) if noted else self

    def with_given(self, inbox: str) -> "Sealing":
        return replace(self, given={**self.given, inbox: self.edition})

    def with_sent(self, inbox: str, now: UnixTime) -> "Sealing":
        """A copy that notes that all sheets of the edition were sent."""
        return replace(self.with_given(inbox), sent={**self.sent, inbox: now})

    def without_given(self, inbox: str) -> "Sealing":
        """A copy that does not know what sheets the inbox has."""
        return replace(self, given={url: edition for url, edition in self.given.items() if url != inbox})

    def next_number(self, key: str, sheet: Sheet) -> int:
        """The first ticket that was not used."""
        used = self.used.get(_place(key, sheet))
        return used.count if used and (used.week, used.edition) == (sheet.week, sheet.edition) else 0

    def with_used(self, key: str, sheet: Sheet, count: int) -> "Sealing":
        """A copy in which so many tickets are used."""
        used = Used(sheet.week, sheet.edition, max(count, self.next_number(key, sheet)))
        return replace(self, used={**self.used, _place(key, sheet): used})

    def is_reached(self, key: str) -> bool:
        """Whether this device, or another of the owner's, has delivered sealed to this key."""
        return key in self.reached or (key not in self.signs and self.people.get(key, Known()).sealed)

    def with_reached(self, key: str) -> "Sealing":
        reached = tuple(other for other in self.reached if other != key)
        return replace(self.without_signs(key), reached=(*reached, key)[-_MOST_PEOPLE:])

    def without_signs(self, key: str) -> "Sealing":
        return replace(self, signs=tuple(other for other in self.signs if other != key))

    def without_reached(self, key: str) -> "Sealing":
        """A copy that may sign for this key again."""
        signs = (*self.without_signs(key).signs, key)[-_MOST_PEOPLE:]
        return replace(self, reached=tuple(other for other in self.reached if other != key), signs=signs)


def _place(key: str, sheet: Sheet) -> str:
    return f"{key} {sheet.origin}"


def sealing_members(sealing: Sealing) -> dict[str, Any]:
    """For the profile's JSON."""
    return asdict(sealing)


def parse_sealing(members: Mapping[str, Any]) -> Sealing:
    """Raises KeyError, TypeError, ValueError or AttributeError."""
    lists = {name: tuple(members.get(name, ())) for name in ("contacts", "reached", "signs")}
    used = {place: Used(**each) for place, each in members["used"].items()}
    people = {key: Known(**each) for key, each in members.get("people", {}).items()}
    blocks = {address: (is_blocked, at) for address, (is_blocked, at) in members.get("blocks", {}).items()}
    return Sealing(**{**members, **lists, "used": used, "people": people, "blocks": blocks})
