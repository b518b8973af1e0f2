"""Tokens with another header, or with another signature, than they must have."""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Final

from inbox_server.conformance.vectors.recipes import (
    GROUP_ORDER,
    OWNER_TYPE,
    TYPES,
    Edit,
    Recipes,
    Vector,
    bytes_of,
    edit_part,
    edit_signature,
    json_of,
    part_of,
)
from inbox_server.protocol.base64url import encode

_ALGORITHMS: Final = (
    "none",
    "None",
    "",
    "HS256",
    "ES256",
    "RS256",
    "EdDSA",
    "es256k",
    "ES256K-R",
    None,
    ["ES256K"],
    True,
)
_OTHER_TYPES: Final = (
    "JWT",
    "jwt",
    "inbox-card+jwt",
    "inbox-owner+jwt",
    "INBOX-DELIVER+JWT",
    "application/inbox-deliver+jwt",
    "",
    None,
)


def headers(recipes: Recipes) -> Iterator[Vector]:
    yield from _surplus(recipes)
    for alg in _ALGORITHMS:
        name, reason = f"header: alg {_json(alg)}", "signed with ES256K, but says otherwise"
        yield recipes.refused(name, "deliver", "alg", reason, header={"alg": alg})
    for typ in _OTHER_TYPES:
        yield recipes.refused(f"header: typ {_json(typ)}", "deliver", "typ", "another type", header={"typ": typ})
    of_sender = {"typ": TYPES["deliver"]}
    yield recipes.refused("header: a deliver token to an owner", "read", "typ", "another type", header=of_sender)
    for member, text in (("alg", f'{{"typ":"{OWNER_TYPE}"}}'), ("typ", '{"alg":"ES256K"}')):
        yield recipes.refused(f"header: no {member}", "read", member, "missing", header_text=lambda _, text=text: text)
    yield from _unsigned(recipes)


def _surplus(recipes: Recipes) -> Iterator[Vector]:
    jwk = {"kty": "EC", "crv": "secp256k1", "x": encode(b"\x01" * 32), "y": encode(b"\x02" * 32)}
    for name, value in {
        "kid": recipes.mallory.public,
        "jwk": jwk,
        "jku": "https://evil.example/keys",
        "x5c": ["MIIB"],
        "x5u": "https://evil.example/x",
        "crit": ["exp"],
        "zip": "DEF",
        "cty": "JWT",
        "enc": "A256GCM",
        "b64": True,
    }.items():
        reason = "typ and alg, and nothing else"
        yield recipes.refused(f"header: {name}", "deliver", "header", reason, header={name: value})
    b64 = {"b64": False, "crit": ["b64"]}
    reason = "RFC 7797, with claims in base64url all the same"
    yield recipes.refused("header: b64 false", "deliver", "header", reason, header=b64)
    detached = edit_part(1, lambda _: "")
    reason = "RFC 7797, without the claims"
    yield recipes.refused("header: b64 false, detached", "deliver", "claims", reason, header=b64, edit=detached)


def _unsigned(recipes: Recipes) -> Iterator[Vector]:
    parts = (json_of({"typ": "JWT", "alg": "none"}), json_of(recipes.claims("deliver")))
    token = ".".join([*map(part_of, parts), ""])
    yield recipes.refused("unsecured: by jsontokens", "deliver", "alg", "alg none, typ JWT", token=token)
    none, bare = {"alg": "none"}, edit_part(2, lambda _: "")
    reason = "alg none and no signature"
    yield recipes.refused("unsecured: with our type", "read", "alg", reason, header=none, edit=bare)
    public = recipes.alice.public
    for form, secret in {"bytes": bytes.fromhex(public), "text": public.encode()}.items():
        edit = _hmac(secret)
        name = f"hmac: the public key's {form} as the secret"
        yield recipes.refused(name, "read", "alg", "HS256", header={"alg": "HS256"}, edit=edit)
        yield recipes.refused(f"hmac: the same, called ES256K, {form}", "read", "signature", "32 bytes", edit=edit)


def _hmac(secret: bytes) -> Edit:
    def edit(token: str) -> str:
        message = token.rpartition(".")[0]
        return f"{message}.{encode(hmac.digest(secret, message.encode(), hashlib.sha256))}"

    return edit


def signatures(recipes: Recipes) -> Iterator[Vector]:
    n = GROUP_ORDER
    for kind in ("deliver", "read"):
        yield recipes.refused(
            f"signature: DER, {kind}",
            kind,
            "signature",
            "r and s, 64 bytes",
            edit=lambda token: edit_part(2, lambda _: recipes.der(token))(token),
        )
        for name, change, reason in (
            ("r = 0", lambda _, s: bytes_of(0, s), "r is 1 to n - 1"),
            ("s = 0", lambda r, _: bytes_of(r, 0), "s is 1 to n - 1"),
            ("r = s = 0", lambda _r, _s: bytes_of(0, 0), 'the signature of "psychic" Java'),
            ("r = n", lambda _, s: bytes_of(n, s), "r is 1 to n - 1"),
            ("s = n", lambda r, _: bytes_of(r, n), "s is 1 to n - 1"),
            ("r and s exchanged", lambda r, s: bytes_of(s, r), "another signature"),
        ):
            edit = edit_signature(change)
            yield recipes.refused(f"signature: {name}, {kind}", kind, "signature", reason, edit=edit)
        yield recipes.refused(
            f"signature: by another key, {kind}",
            kind,
            "signature",
            "the key in the claims did not sign",
            key=recipes.mallory,
        )
    for name, change, reason in (
        ("r = s = n", lambda _r, _s: bytes_of(n, n), "zero, modulo n"),
        ("all bits", lambda _r, _s: b"\xff" * 64, "above n"),
        ("r = s = 1", lambda _r, _s: bytes_of(1, 1), "another signature"),
        ("63 bytes", lambda r, s: bytes_of(r, s)[1:], "not 64 bytes"),
        ("65 bytes", lambda r, s: bytes_of(r, s) + b"\0", "with a recovery byte"),
        ("hex", lambda r, s: bytes_of(r, s).hex().encode(), "128 bytes"),
    ):
        yield recipes.refused(f"signature: {name}", "read", "signature", reason, edit=edit_signature(change))
    yield from _of_others(recipes)


def _of_others(recipes: Recipes) -> Iterator[Vector]:
    other = recipes.make("read", claims={"app": "https://b.example"}).rpartition(".")[2]
    alice, mallory = recipes.alice.public, recipes.mallory
    for name, kind, reason, how in (
        ("of other claims", "read", "signed for another app", {"edit": edit_part(2, lambda _: other)}),
        ("without a key, by another", "deliver", "not by the bucket's key", {"without": ("key",), "key": mallory}),
        (
            "from a key, by another",
            "deliver",
            "not by iss",
            {"claims": {"iss": alice}, "without": ("key",), "key": mallory},
        ),
        ("somebody else's inbox", "read", "iss is Bob, the signer is Alice", {"claims": {"iss": recipes.bob.public}}),
    ):
        yield recipes.refused(f"signature: {name}", kind, "signature", reason, **how)


def _json(value: object) -> str:
    return json_of({"": value})[4:-1]
