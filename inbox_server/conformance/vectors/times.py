"""Tokens of another time, of too long a life, or with times that are no integers."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from inbox_server.conformance.vectors.recipes import Edit, Recipes, Vector

_READ_LIFE = 3600


def times(recipes: Recipes) -> Iterator[Vector]:
    now = recipes.now
    for name, kind, member, changed, reason in (
        ("61 seconds ahead", "deliver", "iat", {"iat": now + 61, "exp": now + 361}, "iat > now + 60"),
        ("expired 60 seconds ago", "deliver", "exp", {"iat": now - 360, "exp": now - 60}, "exp <= now - 60"),
        ("a life of 301 seconds", "deliver", "exp", {"exp": now + 301}, "longer than 300"),
        ("a life of 301 seconds, ack", "ack", "exp", {"exp": now + 301}, "longer than 300"),
        ("a life of 3,601 seconds, read", "read", "exp", {"exp": now + _READ_LIFE + 1}, "longer than 3600"),
        ("no life", "deliver", "exp", {"exp": now}, "exp = iat"),
        ("the end before the start", "deliver", "exp", {"iat": now, "exp": now - 1}, "exp < iat"),
        ("in milliseconds", "deliver", "iat", {"iat": now * 1000, "exp": now * 1000 + 300}, "seconds"),
        ("negative", "deliver", "exp", {"iat": -300, "exp": -1}, "long past"),
        ("zero", "deliver", "exp", {"iat": 0, "exp": 300}, "long past"),
    ):
        yield recipes.refused(f"times: {name}", kind, member, reason, claims=changed)
    for claim in ("iat", "exp"):
        yield from _no_integers(recipes, claim)

    later, latest = _replace("iat", f"1{'0' * 400}"), _replace("exp", f"1{'0' * 397}300")

    def far(text: str) -> str:
        return latest(later(text))

    yield recipes.refused("times: both of 401 digits", "deliver", "iat", "far ahead", claims_text=far)


def _no_integers(recipes: Recipes, claim: str) -> Iterator[Vector]:
    good, now = recipes.claims("deliver")[claim], recipes.now
    date = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for name, value, reason in (
        ("as text", str(good), "an integer"),
        ("as a date", date, "profiles write these; an integer"),
        ("is true", True, "Python takes true for 1"),
    ):
        yield recipes.refused(f"times: {claim} {name}", "deliver", claim, reason, claims={claim: value})
    half = {claim: now + 0.5}
    yield recipes.refused(f"times: {claim} with a half", "deliver", "claims", "an integer", claims=half)
    digits = str(now).rstrip("0")
    power = f"{digits}e{len(str(now)) - len(digits)}"
    for name, text in (
        ("with .0", f"{now}.0"),
        ("as 18e8", power),
        ("as 1e400", "1e400"),
        ("NaN", "NaN"),
        ("-0.0", "-0.0"),
    ):
        how = {"claims_text": _replace(claim, text)}
        yield recipes.refused(f"times: {claim} {name}", "deliver", "claims", "an integer, written as one", **how)
    how = {"claims_text": _replace(claim, "9" * 700)}
    yield recipes.refused(f"times: {claim} of 700 digits", "deliver", "exp", "no life is so long", **how)


def _replace(member: str, text: str) -> Edit:
    """Another text in the place of a member's value."""
    place = re.compile(rf'"{json.dumps(member)[1:-1]}":("[^"]*"|\d+)')
    return lambda json_text: place.sub(f'"{member}":{text}', json_text, count=1)
