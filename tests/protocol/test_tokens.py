"""Bearer tokens: every rule of the protocol's token table, each refused by code and member, and what is accepted."""

import contextlib
import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.clock import UnixTime
from inbox_server.errors import CODES, Refused
from inbox_server.identity.keys import parse_key
from inbox_server.identity.names import Address, Name
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.tokens import (
    DeliverToken,
    OwnerToken,
    Scope,
    digest_of,
    read_deliver_token,
    read_owner_token,
)

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
ALICE, MALLORY = (AppKey.from_hex(KEYS[name]["privateKey"]) for name in ("aliceApp", "mallory"))
BOB, BOB_KEY = KEYS["bobApp"]["btcAddress"], KEYS["bobApp"]["publicKeyCompressed"]
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

NOW = UnixTime(1_800_000_000)
AUD, APP = "https://inbox.example", "https://chat.example"
BODY = b'{"message_id":"opaque"}'
MARK = "mallory-was-here"
LEFT_OUT = object()

DELIVER, OWNER = "inbox-deliver+jwt", "inbox-owner+jwt"
TYPES = {"deliver": DELIVER, "read": OWNER, "ack": OWNER, "settings": OWNER}
LIVES = {"deliver": 300, "read": 3600, "ack": 300, "settings": 300}


def claims(kind: str, **changes: Any) -> dict[str, Any]:
    """The claims of a good token of Alice's; a change to `LEFT_OUT` drops the claim."""
    made: dict[str, Any] = {"iss": ALICE.public, "app": APP, "aud": AUD, "iat": NOW, "exp": NOW + 300}
    if kind == "deliver":
        made |= {"iss": "alice.id", "sub": "bob.id", "key": ALICE.public}
    else:
        made["scope"] = kind
    if kind != "read":
        made["digest"] = digest_of(BODY)
    return {name: value for name, value in (made | changes).items() if value is not LEFT_OUT}


def written(part: Any) -> str:
    """One part of a token: bytes and strings as they are given, everything else as JSON."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return part if isinstance(part, str) else encode(raw)


def jws(header: Any, payload: Any, *, key: AppKey = ALICE) -> str:
    """A token signed rightly, whatever its parts are."""
    message = f"{written(header)}.{written(payload)}"
    r, s = decode_dss_signature(key.sign(message.encode()))
    return f"{message}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def good(kind: str, **changes: Any) -> str:
    return jws({"typ": TYPES[kind], "alg": "ES256K"}, claims(kind, **changes))


def read(kind: str, authorization: str | None, *, body: bytes = BODY, now: int = NOW) -> DeliverToken | OwnerToken:
    """What the server does with an authorization, for Alice's key."""
    if kind == "deliver":
        token = read_deliver_token(authorization, body, audience=AUD, now=UnixTime(now))
        token.check_signature(parse_key(ALICE.public))
        return token
    scopes: dict[str, Scope] = {"read": "read", "ack": "ack", "settings": "settings"}
    return read_owner_token(authorization, body, scope=scopes[kind], audience=AUD, now=UnixTime(now))


def pyjwt_claims(token: str) -> Any:
    key = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(ALICE.public))
    options: Any = {"verify_exp": False, "verify_iat": False, "require": ["aud", "iat", "exp", "iss"]}
    return jwt.decode(token, key, algorithms=["ES256K"], audience=AUD, options=options)


def padded(characters: int) -> str:
    """A read token that is good but for its length."""
    header, payload = json.dumps({"typ": OWNER, "alg": "ES256K"}), json.dumps(claims("read"))
    for spaces in range(3):
        first = encode(header.encode() + b" " * spaces)
        room = characters - len(first) - len("..") - len(encode(bytes(64)))
        if room % 4 != 1:
            return jws(first, payload.encode().ljust(room * 3 // 4))
    raise AssertionError("no padding fits")


def bad_authorizations() -> Iterator[tuple[str | None, str, str | None]]:
    token = good("read")
    yield None, "no_token", None
    for text in ("", "Bearer", "Bearer ", token, f"Basic {token}", f"Bearer{token}", f"Bearer:{token}"):
        yield text, "bad_token", "Authorization"
    for text in (f" Bearer {token}", f"Bearer {token} ", f"Bearer {token}\n", f"Bearer\t{token}", f"Bearer {token} x"):
        yield text, "bad_token", "Authorization"
    for text in ("v1:", f"v1:{token}", "v1:" + "x" * 3000, f"v1:{MARK}"):
        yield f"Bearer {text}", "gaia_token", None
    for text in (padded(2049), "x" * 2049, ".." + "x" * 2047, "é" * 2049):
        yield f"Bearer {text}", "bad_token", "token"
    for text in ("x", "x.y", token + ".", token + ".e30", "." + token, token.rpartition(".")[0], "v2:x"):
        yield f"Bearer {text}", "bad_token", "token"
    yield "Bearer ..", "bad_token", "header"


NOT_MEMBERS = ["1.0", "1e2", "1e400", "Infinity", "NaN", "01", "[" * 1000, '"\xff"']
NOT_MEMBERS += [f'1,"a":"{MARK}"', f'1,"\\u0061":"{MARK}"']
NOT_OBJECTS = [b"", b"[]", b"null", b'"x"', b'["salt"]', b"{", b"{}x", b"\xef\xbb\xbf{}", b"{,}", b"{'a':1}"]
NOT_OBJECTS += [b'{"salt":' + b"[" * 1100]
NOT_BASE64URL = ["e30=", "e+/9", "e30AA", "e31", "é30", "e30%3D", ":"]
NOT_ALGS = ["none", "None", "", "HS256", "RS256", "ES256", "ES256k", "es256k", ["ES256K"], None, True, MARK]
NOT_TYPES = ["JWT", "inbox-card+jwt", DELIVER.upper(), f"application/{OWNER}", "", None, [DELIVER], MARK]
SURPLUS_HEADERS = ["kid", "crit", "jwk", "jku", "x5c", "b64", "zip", "cty", MARK]


def bad_parts(kind: str) -> Iterator[tuple[str, str, str]]:
    """Tokens whose header or claims are malformed: what, token, member."""
    header, payload = {"typ": TYPES[kind], "alg": "ES256K"}, claims(kind)
    for name, part in (("header", header), ("claims", payload)):
        whole = json.dumps(part)
        raw = [f'{whole[:-1]},"a":{member}}}'.encode("latin-1") for member in NOT_MEMBERS]
        for each in (*raw, *NOT_OBJECTS, *NOT_BASE64URL, f"[{whole}]".encode(), encode(whole.encode()) + "="):
            yield f"{name} {each!r:.30}", jws(*((each, payload) if part is header else (header, each))), name
    yield from ((f"no {gone}", jws({kept: header[kept]}, payload), gone) for gone, kept in permutations(header))
    yield from ((f"header {name}", jws(header | {name: MARK}, payload), "header") for name in SURPLUS_HEADERS)
    yield from ((f"alg {alg!r}", jws(header | {"alg": alg}, payload), "alg") for alg in NOT_ALGS)
    other = OWNER if kind == "deliver" else DELIVER
    yield from ((f"typ {typ!r}", jws(header | {"typ": typ}, payload), "typ") for typ in [*NOT_TYPES, other])
    yield "unsecured", f"{written(header | {'alg': 'none'})}.{written(payload)}.", "alg"
    with_public_key = jwt.encode(payload, bytes.fromhex(ALICE.public), algorithm="HS256", headers={"typ": TYPES[kind]})
    yield "hmac with the public key", with_public_key, "alg"


def bad_signatures(kind: str) -> Iterator[tuple[str, str, str]]:
    """Tokens that are right but for the signature: what, token, member."""
    token, others = good(kind), good(kind, app="https://b.example")
    message, signature = token.rpartition(".")[0], decode(token.rpartition(".")[2])
    r, s, n = signature[:32], signature[32:], N.to_bytes(32, "big")
    sizes = [b"", signature[:63], signature + b"\0", ALICE.sign(message.encode()), signature.hex().encode(), r]
    numbers = [bytes(64), bytes(32) + s, r + bytes(32), n + s, r + n, s + r, b"\xff" * 64]
    numbers += [bytes([r[0] ^ 1]) + r[1:] + s]
    yield from ((f"{len(raw)} bytes", f"{message}.{encode(raw)}", "signature") for raw in (*sizes, *numbers))
    yield from ((f"signature and {tail}", token + tail, "signature") for tail in ("=", "==", "+", "A", "\\", "ſ"))
    yield "loose tail", token[:-1] + chr(ord(token[-1]) + 1), "signature"
    yield "by another key", jws({"typ": TYPES[kind], "alg": "ES256K"}, claims(kind), key=MALLORY), "signature"
    yield "of other claims", f"{others.rpartition('.')[0]}.{encode(signature)}", "signature"


WRONG_TYPES: list[Any] = [None, True, 1, [], {}, ["x"], {"x": MARK}]
NOT_TIMES: list[Any] = ["1800000000", True, False, None, [NOW], {}, "", MARK, "NaN"]
NOT_KEYS = [ALICE.public.upper(), KEYS["aliceApp"]["publicKeyUncompressed"], ALICE.public[2:], "0x" + ALICE.public[2:]]
NOT_KEYS += ["02" + f"{5:064x}", ALICE.public + "0", "", MARK]
NOT_NAMES = ["alice", "Alice.id", "alice.id.", "a.b.c.d", ".id", "alice..id", "alice.id/x", "älice.id", f"{MARK}/.id"]
NOT_BUCKETS = [KEYS["bobApp"]["btcTestnetAddress"], KEYS["bobApp"]["stacksMainnet"], BOB[:-1] + "6", BOB + "\n"]
NOT_BUCKETS += ["34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7", KEYS["bobApp"]["didBtcAddr"]]
NOT_AUD = [AUD + "/", AUD.upper(), AUD + ":443", "http://inbox.example", "inbox.example", "", "*", APP, f" {AUD}", MARK]
NOT_APPS = [APP + "/", APP + "/x", APP.upper(), APP + "?x", "chat.example", "https://a@chat.example", "null", ""]
NOT_APPS += ["https://Chat.example", "ftp://chat.example", f"https://{MARK}/"]
DIGEST = digest_of(BODY)
NOT_DIGESTS = [DIGEST + "=", DIGEST.lower(), DIGEST[:-1], digest_of(b""), digest_of(BODY + b"\n"), "", MARK]
NOT_DIGESTS += [decode(DIGEST).hex(), DIGEST.replace("-", "+").replace("_", "/") + "="]


def bad_claims(kind: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Changes to a good token's claims that break a rule: what, the changes, member."""
    names, life = [name for name in claims(kind) if name not in ("iat", "exp")], LIVES[kind]
    values: dict[str, list[Any]] = {name: list(WRONG_TYPES) for name in names}
    values["aud"] += [*NOT_AUD, [AUD], [AUD, APP]]
    values["app"] += NOT_APPS
    values["iss"] += NOT_KEYS
    if kind == "deliver":
        values["iss"] += [*NOT_NAMES, *NOT_BUCKETS, ALICE.address]
        values["sub"] += [*NOT_NAMES, *NOT_BUCKETS, *NOT_KEYS]
        values["key"] += [*NOT_KEYS, "alice.id", ALICE.address]
        yield "a key beside a key", {"iss": ALICE.public}, "key"
        yield "another key beside a key", {"iss": ALICE.public, "key": BOB_KEY}, "key"
    else:
        values["iss"] += ["alice.id", ALICE.address]
        values["scope"] += [*(other for other in TYPES if other != kind), "", "READ", "read ack", "*", MARK]
        yield "somebody else's key", {"iss": BOB_KEY}, "signature"
    if kind != "read":
        values["digest"] += NOT_DIGESTS
    values |= {"iat": [*NOT_TIMES], "exp": [*NOT_TIMES, *(NOW + n for n in (0, -1, -300, life + 1, life * 1000))]}
    values["exp"] += [10**30, -(10**30), 10**1000, NOW * 1000]
    yield from ((f"{name} {value!r:.40}", {name: value}, name) for name, each in values.items() for value in each)
    yield from ((f"no {name}", {name: LEFT_OUT}, name) for name in [*names, "iat", "exp"] if name != "key")
    floats = (NOW + 0.0, NOW + 0.5, 1e30, float("inf"), float("nan"))
    yield from ((f"{name} {value!r}", {name: value}, "claims") for name in ("iat", "exp") for value in floats)
    surplus = ["jti", "nbf", "to", "typ", "alg", MARK, "iss ", "AUD", "scope", "sub", "key", "digest"]
    yield from ((f"surplus {name}", {name: MARK}, "claims") for name in surplus if name not in names)


BAD_TOKENS = [
    pytest.param(kind, f"Bearer {token}", member, id=f"{kind}: {what}")
    for kind in TYPES
    for what, token, member in (
        *bad_parts(kind),
        *bad_signatures(kind),
        *((what, good(kind, **changes), member) for what, changes, member in bad_claims(kind)),
    )
]
GAIA_CLAIMS = ["gaiaChallenge", "hubUrl", "gaiaHubUrl", "associationToken", "scopes", "salt", "childToAssociate"]
GAIA_TOKENS = {
    "of an app": VECTORS["gaia"]["v1"]["gaiaHubConfig"]["token"],
    "with an association": VECTORS["gaia"]["v1WithAssociationToken"]["gaiaHubConfig"]["token"],
    "of a wallet": VECTORS["gaia"]["walletSdkProfileWriter"]["gaiaHubConfig"]["token"],
    "association alone": VECTORS["gaia"]["v1WithAssociationToken"]["tokenPayload"]["associationToken"],
}


def refused(kind: str, authorization: str | None, *, body: bytes = BODY, now: int = NOW) -> Refused:
    """The refusal, which repeats nothing of what the caller wrote."""
    with pytest.raises(Refused) as raised:
        read(kind, authorization, body=body, now=now)
    said = f"{raised.value!r} {raised.value.detail} {raised.value.member}"
    assert MARK not in said
    assert ALICE.public not in said
    assert raised.value.code in CODES
    return raised.value


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("authorization", "code", "member"), list(bad_authorizations()), ids=lambda text: f"{text!r:.25}"
)
def test_what_is_no_bearer_token_is_refused(
    kind: str, authorization: str | None, code: str, member: str | None
) -> None:
    refusal = refused(kind, authorization)
    assert (refusal.code, refusal.member, refusal.server_time) == (code, member, None)


@pytest.mark.parametrize(("kind", "authorization", "member"), BAD_TOKENS)
def test_a_token_that_breaks_a_rule_is_refused_by_its_member_and_not_repeated(
    kind: str, authorization: str, member: str
) -> None:
    refusal = refused(kind, authorization)
    assert (refusal.code, refusal.member, refusal.server_time) == ("bad_token", member, None)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("claim", GAIA_CLAIMS)
@pytest.mark.parametrize("value", [MARK, None, [], 1])
def test_any_claim_of_a_gaia_token_has_its_own_refusal(kind: str, claim: str, value: Any) -> None:
    for token in (good(kind, **{claim: value}), jws({"typ": "JWT", "alg": "ES256K"}, {claim: value})):
        refusal = refused(kind, f"Bearer {token}")
        assert (refusal.code, refusal.member) == ("gaia_token", None)


@pytest.mark.parametrize("claim", GAIA_CLAIMS)
def test_a_claim_of_a_gaia_token_is_known_however_it_is_written(claim: str) -> None:
    escaped = f'{{"\\u{ord(claim[0]):04x}{claim[1:]}":1}}'.encode()
    assert refused("read", f"Bearer {jws({'typ': 'JWT', 'alg': 'ES256K'}, escaped)}").code == "gaia_token"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("what", GAIA_TOKENS)
def test_a_gaia_token_is_known_with_and_without_its_prefix(kind: str, what: str) -> None:
    for token in (GAIA_TOKENS[what], GAIA_TOKENS[what].removeprefix("v1:")):
        assert refused(kind, f"bearer {token}").code == "gaia_token"


@pytest.mark.parametrize("kind", TYPES)
def test_clocks_may_differ_by_a_minute_and_not_by_more(kind: str) -> None:
    bearer, end = f"Bearer {good(kind, exp=NOW + LIVES[kind])}", NOW + LIVES[kind]
    for now in (NOW - 60, NOW, end - 1, end, end + 59):
        assert read(kind, bearer, now=now).issued == NOW
    for now, member in ((NOW - 61, "iat"), (0, "iat"), (end + 60, "exp"), (end + 10**9, "exp")):
        refusal = refused(kind, bearer, now=now)
        assert (refusal.code, refusal.member, refusal.server_time) == ("bad_token", member, now)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("life", "member"), [(300, "iat"), (300_000, "exp")])
def test_milliseconds_are_told_from_a_wrong_clock(kind: str, life: int, member: str) -> None:
    issued = NOW * 1000
    refusal = refused(kind, f"Bearer {good(kind, iat=issued, exp=issued + life)}")
    assert (refusal.member, "look like milliseconds" in refusal.detail) == (member, True)
    assert "milliseconds" not in refused(kind, f"Bearer {good(kind, iat=NOW + 61, exp=NOW + 100)}").detail


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("away", "member"), [(10**30, "iat"), (10**200, "iat"), (-(10**30), "exp"), (-NOW - 1, "exp")])
def test_times_far_away_are_refused_as_the_clocks_fault(kind: str, away: int, member: str) -> None:
    refusal = refused(kind, f"Bearer {good(kind, iat=NOW + away, exp=NOW + away + 300)}")
    assert (refusal.code, refusal.member, refusal.server_time) == ("bad_token", member, NOW)


@pytest.mark.parametrize("kind", TYPES)
def test_a_token_is_taken_for_one_kind_of_request_only(kind: str) -> None:
    bearer = f"Bearer {good(kind)}"
    for other in TYPES.keys() - {kind}:
        assert refused(other, bearer).member == ("typ" if "deliver" in (kind, other) else "scope")


@pytest.mark.parametrize("kind", ["deliver", "ack", "settings"])
def test_a_token_is_for_one_body(kind: str) -> None:
    empty = f"Bearer {good(kind, digest=digest_of(b''))}"
    assert read(kind, empty, body=b"").issued == NOW
    for bearer, body in ((empty, BODY), (f"Bearer {good(kind)}", b""), (f"Bearer {good(kind)}", BODY + b" ")):
        assert refused(kind, bearer, body=body).member == "digest"


@pytest.mark.parametrize("size", [0, 63, 65, 70])
def test_a_signature_of_another_size_is_refused_before_anything_is_looked_up(size: int) -> None:
    bearer = f"Bearer {good('deliver', key=LEFT_OUT).rpartition('.')[0]}.{encode(b'x' * size)}"
    with pytest.raises(Refused) as refusal:
        read_deliver_token(bearer, BODY, audience=AUD, now=NOW)
    assert (refusal.value.code, refusal.value.member) == ("bad_token", "signature")


def accepted() -> Iterator[tuple[str, str]]:
    """(kind, token) of every good form there is."""
    for kind, typ in TYPES.items():
        header, payload = {"typ": typ, "alg": "ES256K"}, claims(kind)
        backwards = dict(reversed(payload.items()))
        yield from ((kind, jws(each, payload)) for each in (header, dict(reversed(header.items()))))
        yield from ((kind, jws(header, each)) for each in (backwards, json.dumps(payload, indent=1).encode()))
        yield from ((kind, good(kind, exp=NOW + lasts)) for lasts in (1, LIVES[kind]))
        yield kind, good(kind, app="http://localhost:3000")
        yield kind, good(kind)
        yield kind, with_other_s(good(kind))
    for sender in ({"key": LEFT_OUT}, {"iss": ALICE.public, "key": LEFT_OUT}, {"iss": "alice.id.blockstack"}):
        for recipient in ("bob.id", "bob.id.blockstack", BOB, BOB_KEY):
            yield "deliver", good("deliver", sub=recipient, **sender)
    yield "read", padded(2048)


def with_other_s(token: str) -> str:
    """The same token with the other half of S, which the same key could have signed."""
    message, _, signature = token.rpartition(".")
    r, s = decode(signature)[:32], N - int.from_bytes(decode(signature)[32:], "big")
    return f"{message}.{encode(r + s.to_bytes(32, 'big'))}"


@pytest.mark.parametrize(("kind", "token"), list(accepted()))
def test_a_good_token_is_accepted_here_and_by_pyjwt(kind: str, token: str) -> None:
    for scheme in ("Bearer ", "bearer ", "BEARER ", "bEaReR   "):
        assert read(kind, scheme + token).issued == NOW
    assert pyjwt_claims(token)["iat"] == NOW
    assert read(kind, f"Bearer {with_other_s(token)}").issued == NOW


def test_a_token_says_who_for_whom_and_for_what() -> None:
    deliver = read("deliver", f"Bearer {good('deliver', sub=BOB)}")
    assert isinstance(deliver, DeliverToken)
    assert (deliver.sender, deliver.recipient, deliver.app) == (Name("alice.id"), Address(BOB), APP)
    assert deliver.key == parse_key(ALICE.public)
    by_key = read("deliver", f"Bearer {good('deliver', iss=ALICE.public, sub=BOB_KEY, key=LEFT_OUT)}")
    assert isinstance(by_key, DeliverToken)
    assert (by_key.sender, by_key.recipient, by_key.key) == (parse_key(ALICE.public), parse_key(BOB_KEY), None)
    owner = read("ack", f"Bearer {good('ack')}")
    assert owner == OwnerToken(parse_key(ALICE.public), APP, "ack", NOW, UnixTime(NOW + 300), DIGEST)


GOOD = [(kind, good(kind)) for kind in TYPES]


@given(st.sampled_from(GOOD), st.data())
def test_no_character_of_a_token_can_be_changed(kind_and_token: tuple[str, str], draw: st.DataObject) -> None:
    kind, token = kind_and_token
    place = draw.draw(st.integers(0, len(token) - 1))
    character = draw.draw(st.characters() | st.sampled_from("AQgw_-.=+/ \n"))
    if character != token[place]:
        refused(kind, f"Bearer {token[:place]}{character}{token[place + 1 :]}")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)
CLAIMS = st.sampled_from(["iss", "sub", "app", "aud", "digest", "iat", "exp", "key", "scope", "salt"]) | st.text()
KINDS = st.sampled_from(list(TYPES))


@given(KINDS, st.dictionaries(CLAIMS, JSON, max_size=3), st.dictionaries(st.text(), JSON, max_size=2))
def test_whatever_is_signed_only_refused_is_raised(kind: str, changes: dict[str, Any], extra: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        read(kind, f"Bearer {jws({'typ': TYPES[kind], 'alg': 'ES256K'} | extra, claims(kind) | changes)}")


@given(KINDS, st.text(), st.sampled_from(["", "Bearer ", "bearer v1:", "Bearer e30.", "Bearer e30.e30."]))
def test_whatever_is_sent_only_refused_is_raised(kind: str, text: str, before: str) -> None:
    with pytest.raises(Refused):
        read(kind, before + text)
