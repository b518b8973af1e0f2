"""With whom an owner has spoken on any device, and who has tickets: `people.json` in the own bucket. No I/O."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from inbox_server.identity.keys import parse_key
from inbox_server.identity.names import parse_name

PEOPLE_FILE: Final = "people.json"
BLOCK_BYTES: Final = 4096  # of the file's JSON: it does not show how many people there are
_MOST_PEOPLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """What the owner's devices know of a person.

    `heard`: a verified message of theirs came. `written`: something was delivered to them. `out`: they are blocked;
    `at` is when that last changed, and 0 if it never did. `sealed`: something was delivered to them sealed. `name`: as
    whom they wrote, if not as a bare key; it leads to their bucket, at whichever hub that is.
    """

    heard: bool = False
    written: bool = False
    out: bool = False
    at: int = 0
    sealed: bool = False
    name: str = ""

    @property
    def has_tickets(self) -> bool:
        return self.heard and self.written and not self.out

    def merged(self, other: "Known") -> "Known":
        """Both; of two names, the own one."""
        at, out = max((self.at, self.out), (other.at, other.out))
        heard, written, sealed = self.heard or other.heard, self.written or other.written, self.sealed or other.sealed
        return Known(heard, written, out, at, sealed, self.name or other.name)


@dataclass(frozen=True, slots=True)
class People:
    """`edition`: of the sheets for those of them who have tickets; 0 before the first. `known`: by key."""

    edition: int = 0
    known: Mapping[str, Known] = field(default_factory=dict)

    @property
    def contacts(self) -> tuple[str, ...]:
        return tuple(sorted(key for key, person in self.known.items() if person.has_tickets))


def merged(one: Mapping[str, Known], other: Mapping[str, Known]) -> dict[str, Known]:
    """Both, `one` first. Of too many, the first go, and of these first those who have no tickets and are not out."""
    known = {**one, **{key: person.merged(one.get(key, Known())) for key, person in other.items()}}
    lasting = sorted(known, key=lambda key: known[key].has_tickets or known[key].out)
    kept = set(lasting[-_MOST_PEOPLE:])
    return {key: person for key, person in known.items() if key in kept}


def people_members(people: People) -> dict[str, Any]:
    return {"edition": people.edition, "people": {key: _members(person) for key, person in people.known.items()}}


def _members(person: Known) -> dict[str, Any]:
    return {name: value for name, value in asdict(person).items() if value or name not in ("sealed", "name")}


def parse_people(members: Mapping[str, Any]) -> People:
    """Raises LookupError, TypeError, ValueError or AttributeError. Unknown members are ignored."""
    edition = _whole(members["edition"])
    return People(edition, {parse_key(key).hex: _known(each) for key, each in members["people"].items()})


def _known(members: Mapping[str, Any]) -> Known:
    heard, written, out = (members[name] for name in ("heard", "written", "out"))
    sealed, name = members.get("sealed", False), members.get("name", "")
    if not all(type(each) is bool for each in (heard, written, out, sealed)):
        raise ValueError("says neither yes nor no")
    return Known(heard, written, out, _whole(members["at"]), sealed, "" if name == "" else parse_name(name).text)


def _whole(number: object) -> int:
    if type(number) is not int or not 0 <= number < 1 << 53:
        raise ValueError("is no whole number")
    return number
