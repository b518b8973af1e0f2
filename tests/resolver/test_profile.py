"""Profiles: what counts is what a key of the name's owner signed, and nothing beside it."""

import contextlib
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.client.appkey import AppKey
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.addresses import base58check_encode, c32check_encode, hash160
from inbox_server.protocol.base64url import decode, encode
from inbox_server.resolver.keyfile import check_key
from inbox_server.resolver.profile import Bucket, find_bucket, read_profile

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
NAMES, KEYS = VECTORS["names"], VECTORS["keys"]
APP = "https://someawesome.app"
ALICE, BOB = KEYS["aliceOwner"], KEYS["bobApp"]
OWNER, MALLORY = (AppKey.from_hex(KEYS[name]["privateKey"]) for name in ("aliceOwner", "mallory"))
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MARK = "mallory-was-here"
CLAIM = {"@type": "Person", "apps": {APP: f"https://gaia.example/hub/{BOB['btcAddress']}/"}}
LEFT_OUT = object()


def payload(**changes: Any) -> dict[str, Any]:
    key = {"publicKey": OWNER.public}
    times = {"iat": "2026-11-21T05:13:28.442Z", "exp": "2027-11-21T05:13:28.442Z"}
    made = {"jti": "1", **times, "subject": key, "issuer": key, "claim": CLAIM} | changes
    return {name: value for name, value in made.items() if value is not LEFT_OUT}


def profile(token: Any, *others: Any, **beside: Any) -> bytes:
    return json.dumps([{"token": token, **beside}, *others]).encode()


def refused(body: bytes, owner: str = ALICE["stacksMainnet"]) -> Refused:
    with pytest.raises(Refused) as raised:
        read_profile(body, owner=owner)
    assert (raised.value.code, raised.value.member) == ("name_unproven", None)
    assert MARK not in f"{raised.value!r}{raised.value.detail}"
    return raised.value


GOOD = OWNER.token(payload())


@pytest.mark.parametrize("name", NAMES, ids=lambda n: n["name"])
def test_a_wallets_profile_leads_to_the_bucket_and_the_key(name: dict[str, Any]) -> None:
    claim = read_profile(name["profileJsonText"].encode(), owner=name["nameInfoResponse"]["address"])
    assert claim == name["claim"]
    bucket = find_bucket(claim, APP)
    assert bucket.url == name["bucketUrl"]
    assert bucket.stated_key == name["claim"]["appsMeta"][APP]["publicKey"]
    assert check_key(bucket.stated_key or "", bucket.address)


@pytest.mark.parametrize("name", NAMES, ids=lambda n: n["name"])
def test_a_wallets_profile_is_nobody_elses(name: dict[str, Any]) -> None:
    for owner in (KEYS["mallory"]["stacksMainnet"], KEYS["mallory"]["btcAddress"], KEYS["aliceData"]["stacksMainnet"]):
        assert "not signed by a key of the name's owner" in refused(name["profileJsonText"].encode(), owner).detail


@pytest.mark.parametrize("writing", ["stacksMainnet", "stacksTestnet", "btcAddress", "btcTestnetAddress"])
@pytest.mark.parametrize("form", ["publicKeyCompressed", "publicKeyUncompressed"])
def test_the_owner_may_be_written_in_c32_and_base58_and_the_key_in_both_forms(writing: str, form: str) -> None:
    token = OWNER.token(payload(issuer={"publicKey": ALICE[form]}))
    assert read_profile(profile(token), owner=ALICE[writing]) == CLAIM


@pytest.mark.parametrize("form", ["publicKeyCompressed", "publicKeyUncompressed"])
def test_the_owner_may_be_the_hash_of_the_uncompressed_key(form: str) -> None:
    token = OWNER.token(payload(issuer={"publicKey": ALICE[form]}))
    digest = bytes.fromhex(ALICE["hash160Uncompressed"])
    for owner in (ALICE["btcAddressOfUncompressed"], c32check_encode(22, digest)):
        assert read_profile(profile(token), owner=owner) == CLAIM


@pytest.mark.parametrize("version", [20, 21, 0, 31])
def test_an_owner_of_several_keys_can_prove_nothing(version: int) -> None:
    digest = hash160(bytes.fromhex(OWNER.public))
    assert "single key" in refused(profile(GOOD), c32check_encode(version, digest)).detail


@pytest.mark.parametrize("version", [5, 196, 1])
def test_an_owner_of_several_keys_can_prove_nothing_in_base58(version: int) -> None:
    digest = hash160(bytes.fromhex(OWNER.public))
    assert "single key" in refused(profile(GOOD), base58check_encode(version, digest)).detail


@pytest.mark.parametrize("owner", ["", "S", "SP", MARK, f"S{MARK}", OWNER.public, "alice.id", "\ud800"])
def test_an_owner_that_is_no_address_can_prove_nothing(owner: str) -> None:
    refused(profile(GOOD), owner)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": "1999-01-01T00:00:00.000Z"},
        {"exp": 1},
        {"iat": 4_102_444_800},
        {"iat": LEFT_OUT, "exp": LEFT_OUT, "jti": LEFT_OUT},
        {"nbf": 4_102_444_800},
        {"aud": "https://elsewhere.example"},
        {"sub": 5, "jti": 5, "nbf": "x"},
        {"subject": {"publicKey": BOB["publicKeyCompressed"]}},
    ],
)
def test_neither_expiry_nor_other_claims_matter(changes: dict[str, Any]) -> None:
    assert read_profile(profile(OWNER.token(payload(**changes))), owner=ALICE["stacksMainnet"]) == CLAIM


@pytest.mark.parametrize(
    "changes",
    [
        {"claim": LEFT_OUT},
        {"claim": None},
        {"claim": [CLAIM]},
        {"claim": json.dumps(CLAIM)},
        {"subject": LEFT_OUT},
        {"subject": None},
        {"subject": {}},
        {"subject": {"publicKey": None}},
        {"subject": OWNER.public},
        {"issuer": LEFT_OUT},
        {"issuer": None},
        {"issuer": {}},
        {"issuer": OWNER.public},
        {"issuer": [OWNER.public]},
        *(
            {"issuer": {"publicKey": key}}
            for key in (None, 5, "", MARK, "0x" + OWNER.public, OWNER.public[:-1], OWNER.address)
        ),
        {"issuer": {"publicKey": "02" + f"{5:064x}"}},
        {"issuer": {"publicKey": "00"}},
        {"issuer": {"publicKey": MALLORY.public}},
    ],
)
def test_a_profile_without_claim_subject_or_issuer_is_refused(changes: dict[str, Any]) -> None:
    refused(profile(OWNER.token(payload(**changes))))


def test_a_profile_signed_by_another_key_is_refused_whoever_it_says_it_is_from() -> None:
    refused(profile(MALLORY.token(payload())))
    refused(profile(MALLORY.token(payload(issuer={"publicKey": MALLORY.public}))))
    own = profile(MALLORY.token(payload(issuer={"publicKey": MALLORY.public})))
    assert read_profile(own, owner=KEYS["mallory"]["stacksMainnet"]) == CLAIM


def test_a_changed_payload_is_refused() -> None:
    header, body, signature = GOOD.split(".")
    other = encode(json.dumps(payload(claim=CLAIM | {"name": MARK})).encode())
    for changed in (
        f"{header}.{other}.{signature}",
        f"{header}.{body}x.{signature}",
        f"{header}.{body}.{signature[:-2]}AA",
    ):
        refused(profile(changed))


def test_a_signature_in_either_half_of_s_holds() -> None:
    message, _, signature = GOOD.rpartition(".")
    r, s = decode(signature)[:32], int.from_bytes(decode(signature)[32:], "big")
    for half in (s, N - s):
        token = f"{message}.{encode(r + half.to_bytes(32, 'big'))}"
        assert read_profile(profile(token), owner=ALICE["stacksMainnet"]) == CLAIM


def test_no_other_algorithm_makes_a_profile() -> None:
    secret = bytes.fromhex(OWNER.public)
    unsigned = GOOD.rpartition(".")[0] + "."
    for token in (
        jwt.encode(payload(), secret, algorithm="HS256"),
        jwt.encode(payload(), ALICE["publicKeyUncompressed"], algorithm="HS512"),
        jwt.encode(payload(), "", algorithm="none"),
        unsigned,
    ):
        refused(profile(token))


def test_the_decoded_copy_is_never_read() -> None:
    lie = {"payload": payload(claim={"apps": {APP: MARK}}, issuer={"publicKey": MALLORY.public})}
    assert read_profile(profile(GOOD, decodedToken=lie), owner=ALICE["stacksMainnet"]) == CLAIM
    refused(profile("x", decodedToken={"payload": payload()}))
    refused(json.dumps([{"decodedToken": {"payload": payload()}}]).encode())


def test_only_the_first_element_is_read() -> None:
    other = OWNER.token(payload(claim={"apps": {}}))
    assert read_profile(profile(GOOD, {"token": other}, MARK), owner=ALICE["stacksMainnet"]) == CLAIM
    refused(profile("x", {"token": GOOD}))
    refused(profile(MALLORY.token(payload()), {"token": GOOD}))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"null",
        b"5",
        b'"x"',
        b"[[]]",
        b"[null]",
        b'["token"]',
        b'[{"token":null}]',
        b'[{"token":5}]',
        b'[{"token":{}}]',
        b'[{"token":"\\ud800"}]',
        json.dumps({"token": GOOD}).encode(),
        json.dumps({"0": {"token": GOOD}}).encode(),
        json.dumps(GOOD).encode(),
        profile(MARK),
        profile(f"{GOOD}.x"),
        profile("e30.e30."),
        profile("e30.W10." + GOOD.rpartition(".")[2]),
        profile(f"{GOOD.partition('.')[0]}.{encode(b'[' * 100_000)}.AA"),
        b"[" * 100_000,
        b'[{"token":' + b"9" * 5000 + b"}]",
    ],
)
def test_what_is_no_array_of_a_signed_token_is_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    "body",
    [b"", b" \n", b"[", profile(GOOD)[:-1], profile(GOOD)[:40], b"\xff" + profile(GOOD), GOOD.encode(), b"<html>"],
)
def test_what_is_not_whole_is_no_profile_for_now(body: bytes) -> None:
    """Hubs serve what has come of a file so far, and proxies serve pages."""
    with pytest.raises(Unavailable, match="names_unavailable") as caught:
        read_profile(body, owner=BOB["btcAddress"])
    assert "The profile is empty or not whole" in caught.value.detail


ADDRESS = BOB["btcAddress"]


@pytest.mark.parametrize("end", ["", "/", "//"])
@pytest.mark.parametrize(
    "before",
    ["https://gaia.example/hub/", "http://127.0.0.1:8710/", "https://storage.googleapis.com/sdrive-001.app/x%20y/"],
)
def test_a_buckets_url_is_made_to_end_with_one_slash(before: str, end: str) -> None:
    url = before + ADDRESS
    assert find_bucket({"apps": {APP: url + end}}, APP) == Bucket(url + "/", ADDRESS, None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        MARK,
        "https://gaia.example/hub/",
        f"https://gaia.example/hub/{ADDRESS}/?",
        f"https://gaia.example/hub/{ADDRESS}/#",
        f"https://gaia.example/hub/{ADDRESS}?",
        f"https://gaia.example/hub/{ADDRESS}?x=1",
        f"https://gaia.example/hub/{ADDRESS}/?x=/",
        f"https://gaia.example/hub/{ADDRESS}#x",
        f"https://gaia.example/hub/{ADDRESS}/0/",
        f"https://gaia.example/{ADDRESS}/hub/",
        f"https://gaia.example/hub/x?/{ADDRESS}/",
        f"https://gaia.example/hub/x#/{ADDRESS}/",
        f"https://{ADDRESS}/",
        f"https://gaia.example/hub/{ADDRESS};x",
        f"https://gaia.example/hub/x{ADDRESS}/",
        f"https://gaia.example/hub/{ADDRESS[:-1]}6/",
        f"https://gaia.example/hub/{ADDRESS.lower()}/",
        f"https://gaia.example/hub/%31{ADDRESS[1:]}/",
        f"https://gaia.example/hub/{ADDRESS}%2f",
        f"https://gaia.example\\hub\\{ADDRESS}",
        f"https://gaia.example/hub/{BOB['btcTestnetAddress']}/",
        f"https://gaia.example/hub/{BOB['stacksMainnet']}/",
        "https://gaia.example/hub/34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7/",
        f"https://gaia.example/hub/{ADDRESS}/\n",
        f"https://gaia.example/hub/{ADDRESS}\n/",
        f"https://gaia.example/hu\tb/{ADDRESS}/",
        f" https://gaia.example/hub/{ADDRESS}/",
        f"https://[/hub/{ADDRESS}/",
        None,
        5,
        [f"https://gaia.example/hub/{ADDRESS}/"],
        {"storage": f"https://gaia.example/hub/{ADDRESS}/"},
    ],
)
def test_a_url_that_does_not_end_with_a_buckets_address_is_no_bucket(url: Any) -> None:
    with pytest.raises(Refused, match="name_unproven") as refusal:
        find_bucket({"apps": {APP: url}}, APP)
    assert MARK not in refusal.value.detail


@pytest.mark.parametrize(
    "before", ["", "/", "//a.example/", "ftp://a.example/", "x:/", "https:/", "https://u:p@a.example/"]
)
def test_a_bucket_that_nothing_can_be_fetched_from_is_the_owners_to_mend(before: str) -> None:
    """Otherwise its key is asked for in vain, and the answer is 503 for ever."""
    with pytest.raises(Refused, match="name_unproven"):
        find_bucket({"apps": {APP: f"{before}{ADDRESS}/"}}, APP)


@pytest.mark.parametrize("unit", ["/", "a", "a/", "/a", "1", f"{ADDRESS}/", "%", "//a"])
def test_no_url_of_the_largest_profile_keeps_the_reader_busy(unit: str) -> None:
    """The timeout of every test is the assertion: a reader that tries every way to split would run for hours."""
    for end in ("", "#", "é"):
        with pytest.raises(Refused, match="name_unproven"):
            find_bucket({"apps": {APP: "https://gaia.example/" + (unit * 250_000)[:250_000] + "x/" + end}}, APP)


@pytest.mark.parametrize(
    "apps", [LEFT_OUT, None, [], "x", {}, {APP + "/": "x"}, {APP.upper(): "x"}, {"https://other.app": "x"}]
)
def test_an_app_is_looked_up_by_its_exact_origin(apps: Any) -> None:
    with pytest.raises(Refused, match="name_unproven"):
        find_bucket({} if apps is LEFT_OUT else {"apps": apps}, APP)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        [],
        "x",
        {APP: None},
        {APP: "x"},
        {APP: {}},
        {APP: {"publicKey": None}},
        {APP: {"publicKey": [1]}},
        {"x": {}},
    ],
)
def test_an_unusable_stated_key_is_none(meta: Any) -> None:
    assert find_bucket(CLAIM | {"appsMeta": meta}, APP).stated_key is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(GOOD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["token", "claim", APP]), inner),
    max_leaves=6,
)


@given(st.binary() | st.text().map(str.encode) | JSON.map(json.dumps).map(str.encode) | JSON.map(profile))
def test_whatever_the_file_only_refused_is_raised(body: bytes) -> None:
    with contextlib.suppress(Refused):
        assert read_profile(body, owner=ALICE["stacksMainnet"]) == CLAIM


@given(st.dictionaries(st.sampled_from(["jti", "iat", "exp", "subject", "issuer", "claim", "aud", "crit"]), JSON))
def test_whatever_the_owner_signs_only_refused_is_raised(changes: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        claim = read_profile(profile(OWNER.token(payload(**changes))), owner=ALICE["stacksMainnet"])
        find_bucket(claim, APP)


@given(JSON, st.text() | st.text("/:?#[]@;%. \n" + ADDRESS).map("https://gaia.example/".__add__))
def test_whatever_the_claim_a_bucket_ends_with_its_address(apps: Any, url: str) -> None:
    for claim in ({"apps": apps}, {"apps": {APP: url}}, {"apps": {APP: url + ADDRESS}, "appsMeta": apps}):
        with contextlib.suppress(Refused):
            bucket = find_bucket(claim, APP)
            assert bucket.url.endswith(f"{bucket.address}/")
