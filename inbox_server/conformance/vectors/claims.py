"""Tokens whose claims are not those of their type, or not of their kind."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from inbox_server.conformance.vectors.recipes import (
    BODIES,
    Recipes,
    Vector,
    digest_of,
    loosen,
    other_addresses,
    uncompressed,
)
from inbox_server.protocol.base64url import decode, encode

_SURPLUS: Final = ("jti", "nbf", "to", "scope", "ISS")
_SCOPES: Final[dict[str, Any]] = {
    "ack": "ack",
    "settings": "settings",
    "in capitals": "READ",
    "two": "read ack",
    "empty": "",
    "a number": 1,
    "all": "*",
}
_NO_NAMES: Final = (
    "alice",
    "Alice.id",
    "alice.id.",
    ".id",
    "alice..id",
    "a.b.c.d",
    "alice.id/x",
    "alice id.id",
    "аlice.id",
    "alice.id\0",
    "alice.id\n",
    "alice。id",
    "",
)
_GAIA_CLAIMS: Final = (
    "gaiaChallenge",
    "hubUrl",
    "gaiaHubUrl",
    "associationToken",
    "scopes",
    "salt",
    "childToAssociate",
)


def claims(recipes: Recipes) -> Iterator[Vector]:
    """Which claims there are, and of what type."""
    for kind in ("deliver", "ack"):
        for claim, value in recipes.claims(kind).items():
            if claim != "key":
                yield recipes.refused(f"{kind}: no {claim}", kind, claim, "missing", without=(claim,))
                null, several = {claim: None}, {claim: [value]}
                yield recipes.refused(f"{kind}: {claim} is null", kind, claim, "null is no value", claims=null)
                yield recipes.refused(f"{kind}: {claim} in an array", kind, claim, "one value", claims=several)
    for claim in _SURPLUS:
        how = {"claims": {claim: "read"}}
        yield recipes.refused(f"deliver: surplus {claim}", "deliver", "claims", "the exact claims", **how)
    digest, sub = {"digest": digest_of(b"")}, {"sub": recipes.bob.address}
    yield recipes.refused("read: surplus digest", "read", "claims", "a read token has none", claims=digest)
    yield recipes.refused("read: surplus sub", "read", "claims", "the inbox is that of the key", claims=sub)
    by_key = {"iss": recipes.alice.public}
    reason = "only for an iss that is a name"
    yield recipes.refused("deliver: a key beside a key", "deliver", "key", reason, claims=by_key)
    for name, scope in _SCOPES.items():
        how = {"claims": {"scope": scope}}
        yield recipes.refused(f"scope: {name} for read", "read", "scope", "the scope of the request", **how)


def identities(recipes: Recipes) -> Iterator[Vector]:
    reason = "66 lower-case hex characters of a point"
    for name, key in _no_keys(recipes).items():
        yield recipes.refused(f"iss: {name}, owner", "read", "iss", reason, claims={"iss": key})
        yield recipes.refused(f"key: {name}", "deliver", "key", reason, claims={"key": key})
        how = {"claims": {"iss": key}, "without": ("key",)}
        yield recipes.refused(f"iss: {name}, deliver", "deliver", "iss", reason, **how)
    for text in _NO_NAMES:
        for claim in ("iss", "sub"):
            name = f"{claim}: the name {json.dumps(text, ensure_ascii=False)}"
            reason = "not a name of two or three lower-case labels"
            yield recipes.refused(name, "deliver", claim, reason, claims={claim: text})
    for name, address in other_addresses(recipes.bob).items():
        reason = "base58check, version 0, mainnet"
        yield recipes.refused(f"sub: an address {name}", "deliver", "sub", reason, claims={"sub": address})


def _no_keys(recipes: Recipes) -> dict[str, str]:
    public, whole = recipes.alice.public, uncompressed(recipes.alice)
    return {
        "in capitals": public.upper(),
        "uncompressed": whole,
        "hybrid": f"07{whole[2:]}",
        "hybrid and short": f"06{public[2:]}",
        "off the curve": f"02{'5':>064}",
        "x above the field": f"02{'f' * 64}",
        "x of zero": f"03{'0' * 64}",
        "the point at infinity": "00",
        "with 0x": f"0x{public}",
        "x alone": public[2:],
        "a NUL after it": f"{public}\0",
        "a line feed after it": f"{public}\n",
        "its address": recipes.alice.address,
        "base64url": encode(bytes.fromhex(public)),
    }


def audiences(recipes: Recipes) -> Iterator[Vector]:
    """`aud`, `app` and `digest`."""
    audience = recipes.audience
    scheme, host = audience.split("://")
    others: tuple[Any, ...] = (
        f"{audience}/",
        f"{audience}:443",
        audience.upper(),
        f"{'http' if scheme == 'https' else 'https'}://{host}",
        host,
        f"{audience}.evil.example",
        f"{scheme}://a@{host}",
        f" {audience}",
        f"{audience}\0",
        f"{audience}/v1/messages",
        recipes.app,
        "*",
        "",
        True,
        1,
        {},
    )
    for other in others:
        reason = "one string, exactly the server's origin"
        yield recipes.refused(f"aud: {_shown(other)}", "deliver", "aud", reason, claims={"aud": other})
    two = [audience, "https://evil.example"]
    yield recipes.refused("aud: two", "deliver", "aud", "one string", claims={"aud": two})
    yield from _apps(recipes)
    yield from _digests(recipes)


def _apps(recipes: Recipes) -> Iterator[Vector]:
    app = recipes.app
    for other in (
        f"{app}/",
        f"{app}/x",
        f"{app}?x",
        "https://Chat.example",
        f"{app}:443",
        "chat.example",
        "null",
        "ftp://chat.example",
        "https://a@chat.example",
        "https://",
        f"{app}\0",
        "",
    ):
        reason = "a web origin as browsers write it"
        yield recipes.refused(f"app: {_shown(other)}", "ack", "app", reason, claims={"app": other})


def _digests(recipes: Recipes) -> Iterator[Vector]:
    digest = digest_of(BODIES["deliver"])
    for name, other in {
        "padded": f"{digest}=",
        "in hex": decode(digest).hex(),
        "in capitals": digest.upper(),
        "in the standard alphabet": base64.b64encode(decode(digest)).decode(),
        "of nothing": digest_of(b""),
        "a tail that is not canonical": loosen(digest),
        "empty": "",
    }.items():
        reason = "base64url(SHA-256(body)) without padding"
        yield recipes.refused(f"digest: {name}", "deliver", "digest", reason, claims={"digest": other})
    for name, kind, sent in (
        ("another body came", "deliver", b'{"message_id":"other"}'),
        ("a line feed more", "ack", BODIES["ack"] + b"\n"),
        ("no body came", "settings", b""),
    ):
        yield recipes.refused(f"digest: {name}", kind, "digest", "a token is for one body", sent=sent)


def gaia(recipes: Recipes) -> Iterator[Vector]:
    """Write keys to buckets."""
    alice = recipes.alice
    members = {
        "gaiaChallenge": '["gaiahub","0","hub.example","blockstack_storage_please_sign"]',
        "hubUrl": "https://hub.example",
        "iss": alice.public,
        "salt": "00",
    }
    token, dated = alice.token(members), alice.token({**members, "exp": recipes.now + 0.5})
    key = "a write key to a bucket"
    hub: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("as a hub takes it", "deliver", key, {"token": f"v1:{token}"}),
        ("without its prefix", "deliver", key, {"token": token}),
        ("with a date in it", "read", "wallets write floats", {"token": dated}),
        ("the prefix alone", "read", "whatever follows it", {"token": "v1:x"}),
        ("the prefix before a good token", "read", "whatever follows it", {"edit": lambda token: f"v1:{token}"}),
    )
    for name, kind, reason, how in hub:
        yield recipes.vector(f"gaia: {name}", kind, reason, code="gaia_token", **how)
    for claim in _GAIA_CLAIMS:
        name, reason = f"gaia: a deliver token with {claim}", "it opens a bucket, or delegates that"
        yield recipes.vector(name, "deliver", reason, code="gaia_token", claims={claim: "x"})


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
