"""Strict JSON: one meaning for every byte sequence, or a refusal.

Python's parser takes the last of duplicate keys, accepts NaN, and turns 1e400 into infinity. Another parser may read
the same bytes differently, so all of that is refused (RFC 8259 leaves it open; RFC 7493 does not).
"""

import json
from collections.abc import Iterable
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 100
"""Arrays and objects in one another; 1,200 brackets fit into a token."""


class NotStrict(ValueError):
    """The text is not JSON that we accept. The message says why, and does not quote the text."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """One JSON object: UTF-8, no byte-order mark, no duplicate keys, integers only, 100 deep. Raises `NotStrict`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrict("is not UTF-8") from None
    try:
        parsed = _decode(text)
        if "\\u" in text:  # half of an escaped surrogate pair can be decoded but not encoded
            json.dumps(parsed, ensure_ascii=False).encode()
    except NotStrict:
        raise
    except RecursionError:
        raise NotStrict("is nested too deep") from None
    except ValueError:
        raise NotStrict("is not valid JSON") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(parsed):
        raise NotStrict("is nested too deep")
    if not isinstance(parsed, dict):
        raise NotStrict("is not a JSON object")
    return parsed


def is_whole(raw: bytes) -> bool:
    """Whether this is JSON from its start to its end.

    A file that a hub is still writing is empty or cut short. It stays so if the upload was cut off.
    """
    try:
        json.loads(raw)
    except (ValueError, RecursionError):  # ValueError also when it is not UTF-8
        return False
    return True


def _is_deeper(parsed: Any) -> bool:
    """Whether it nests deeper than `MAX_DEPTH`. How deep Python itself can read differs from version to version."""
    inside = [parsed]
    for _ in range(MAX_DEPTH):
        inside = [
            each
            for outer in inside
            if isinstance(outer, dict | list)
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(each, dict | list) for each in inside)


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("has the same member twice")
    return members


def _refuse_float(_: str) -> NoReturn:
    raise NotStrict("has a number that is not an integer")


# A decoder is made once: json.loads with hooks makes a new one on every call.
_decode = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_float=_refuse_float, parse_constant=_refuse_float
).decode
