"""Zone files of names: the profile's URL is in a URI record (RFC 7553), in text like RFC 1035's."""

import re
from typing import Final

_MAX_CHARACTERS: Final = 8192  # what BNS version 2 allows; version 1 allows half
_URI_RECORD: Final = re.compile(
    r"""^[ \t]* (?P<name>\S+) [ \t]+
        (?: \d+ [ \t]+ )? (?: IN [ \t]+ )? (?: \d+ [ \t]+ )?   # time to live and class, in either order, or neither
        URI [ \t]+ \d+ [ \t]+ \d+ [ \t]+
        (?: "(?P<quoted>[^"\r\n]+)" | (?P<bare>[^\s";]+) )""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


def profile_url(zone_file: str) -> str | None:
    """The URL of the profile, or None when the zone file names none.

    `_http._tcp` comes first, as in stacks.js; `_https._tcp` is accepted too, because some real zone files use it.
    A `_resolver` record points to a registrar, not to a profile.
    """
    if len(zone_file) > _MAX_CHARACTERS:
        return None
    targets: dict[str, str] = {}
    for record in _URI_RECORD.finditer(zone_file):
        targets.setdefault(record["name"].lower(), record["quoted"] or record["bare"])
    target = targets.get("_http._tcp") or targets.get("_https._tcp")
    if target is None:
        return None
    return target if target.startswith("http") else f"https://{target}"
