"""The chain from a name to an app's key: every link of it, good and broken, against hosts that a test makes up."""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inbox_server.config.config import Static
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.addresses import base58check_encode, c32check_encode, hash160
from inbox_server.identity.keys import parse_key
from inbox_server.outgoing.fetch import open_fetcher
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.contract import Missing
from inbox_server.resolver.keyfile import KEY_FILES
from inbox_server.resolver.service import NameServices
from inbox_server.world.people import Person, make_person
from tests.conftest import APP
from tests.support.hosts import Host, profile, running_host, zone_file
from tests.support.requests import new_key

NAME = "/v1/names/alice.id"
STATIC = new_key()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """Name service and buckets in one."""
    async with running_host() as host:
        yield host


@pytest.fixture
async def resolver(host: Host) -> AsyncIterator[ChainResolver]:
    async with open_fetcher(allow=frozenset({host.url})) as fetcher:
        static = Static("static.id", APP, parse_key(STATIC.public))
        yield ChainResolver(fetcher, NameServices(fetcher, (host.url,), agreement=False), [static])


@pytest.fixture
def alice(host: Host) -> Person:
    """Her profile states her app key."""
    alice = make_person("alice.id", APP, secrets.token_bytes)
    host.put_person(alice, stated_key=alice.app_key.public)
    return alice


def _profile_path(person: Person) -> str:
    return f"/{person.data.address}/profile.json"


async def _refusal(resolver: ChainResolver, name: str = "alice.id") -> str:
    """Why the name is not proved; both ways of asking say the same."""
    details = set()
    for ask in (resolver.address, resolver.key):
        with pytest.raises(Refused, match="name_unproven") as caught:
            await ask(name, APP)
        details.add(caught.value.detail)
    (detail,) = details
    return detail


async def test_a_name_leads_to_the_address_and_the_key(resolver: ChainResolver, host: Host, alice: Person) -> None:
    assert await resolver.address("alice.id", APP) == alice.app_key.address
    assert host.asked == [NAME, _profile_path(alice)]
    assert (await resolver.key("alice.id", APP)).hex == alice.app_key.public


@pytest.mark.parametrize("name", ["alice.btc", "alice.id.blockstack", "a-b_c+d.app"])
async def test_names_of_every_form_are_asked_for_as_they_are(resolver: ChainResolver, host: Host, name: str) -> None:
    person = make_person(name, APP, secrets.token_bytes)
    host.put_person(person)
    assert await resolver.address(name, APP) == person.app_key.address
    assert host.asked[0] == f"/v1/names/{name}"


OWNERS: dict[str, Callable[[bytes], str]] = {
    "c32 on mainnet": lambda digest: c32check_encode(22, digest),
    "c32 on testnet": lambda digest: c32check_encode(26, digest),
    "c32 in small letters": lambda digest: c32check_encode(22, digest).lower(),
    "base58 on mainnet": lambda digest: base58check_encode(0, digest),
    "base58 on testnet": lambda digest: base58check_encode(111, digest),
}


@pytest.mark.parametrize("write", OWNERS.values(), ids=OWNERS.keys())
async def test_an_owner_may_be_written_in_every_way_that_one_key_has(
    resolver: ChainResolver, host: Host, alice: Person, write: Callable[[bytes], str]
) -> None:
    owner = write(hash160(bytes.fromhex(alice.owner.public)))
    host.put_name("alice.id", owner, zone_file(host.url + _profile_path(alice)))
    assert await resolver.address("alice.id", APP) == alice.app_key.address


@pytest.mark.parametrize(
    "owner",
    [
        c32check_encode(20, bytes(20)),
        base58check_encode(5, bytes(20)),
        c32check_encode(22, bytes(20)),
        STATIC.address,
        "nobody",
        "",
    ],
    ids=["single", "many", "many in c32", "another's", "nobody", "empty"],
)
async def test_a_profile_that_the_owner_did_not_sign_is_refused(
    resolver: ChainResolver, host: Host, alice: Person, owner: str
) -> None:
    host.put_name("alice.id", owner, zone_file(host.url + _profile_path(alice)))
    assert "owner" in await _refusal(resolver)


async def test_a_name_that_does_not_exist_is_unproven(resolver: ChainResolver) -> None:
    assert "knows no such name" in await _refusal(resolver)


@pytest.mark.parametrize("zone", [None, "", "$ORIGIN x\n", '$ORIGIN x\n_resolver URI 10 1 "https://r.example"\n'])
async def test_a_name_without_a_profile_url_is_unproven(
    resolver: ChainResolver, host: Host, alice: Person, zone: str | None
) -> None:
    host.put_name("alice.id", alice.owner_address, zone)
    assert "zone file" in await _refusal(resolver)


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_profile_that_is_not_there_is_unproven(
    resolver: ChainResolver, host: Host, alice: Person, status: int
) -> None:
    host.put(_profile_path(alice), b"gone", status=status)
    assert "no profile" in await _refusal(resolver)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_profile_host_that_fails_is_unavailable(
    resolver: ChainResolver, host: Host, alice: Person, status: int
) -> None:
    host.put(_profile_path(alice), b"sorry", status=status)
    with pytest.raises(Unavailable, match="names_unavailable") as caught:
        await resolver.address("alice.id", APP)
    assert caught.value.retry_after


@pytest.mark.parametrize("body", [b"{}", b"[]", b"[{}]", b'[{"token":7}]', b'[{"token":"a.b.c"}]'])
async def test_what_is_no_profile_is_unproven(resolver: ChainResolver, host: Host, alice: Person, body: bytes) -> None:
    host.put(_profile_path(alice), body)
    assert "ES256K" in await _refusal(resolver)


@pytest.mark.parametrize("length", [0, 1, 200, -1])
async def test_a_profile_that_is_being_written_is_unavailable(
    resolver: ChainResolver, host: Host, alice: Person, length: int
) -> None:
    host.put(_profile_path(alice), host.answers[_profile_path(alice)].body[:length])
    with pytest.raises(Unavailable):
        await resolver.address("alice.id", APP)


async def test_a_profile_that_is_too_large_is_unavailable(resolver: ChainResolver, host: Host, alice: Person) -> None:
    host.put(_profile_path(alice), host.answers[_profile_path(alice)].body.ljust(256 * 1024 + 1))
    with pytest.raises(Unavailable):
        await resolver.address("alice.id", APP)


async def test_the_copy_beside_the_token_is_not_believed(resolver: ChainResolver, host: Host, alice: Person) -> None:
    (record,) = json.loads(host.answers[_profile_path(alice)].body)
    forged = {"apps": {APP: f"{host.url}/hub/{STATIC.address}/"}}
    record["decodedToken"] = {"payload": {"claim": forged}}
    host.put(_profile_path(alice), json.dumps([record]))
    assert await resolver.address("alice.id", APP) == alice.app_key.address


BUCKETS: dict[str, Any] = {
    "no apps": {},
    "another app": {"apps": {"https://other.example": f"https://hub.example/{STATIC.address}/"}},
    "the app with a slash": {"apps": {APP + "/": f"https://hub.example/{STATIC.address}/"}},
    "no url": {"apps": {APP: 7}},
    "no address": {"apps": {APP: "https://hub.example/alice/"}},
    "the address not at the end": {"apps": {APP: f"https://hub.example/{STATIC.address}/files/"}},
    "the address in the query": {"apps": {APP: f"https://hub.example/?{STATIC.address}/"}},
    "an address of many keys": {"apps": {APP: f"https://hub.example/{base58check_encode(5, bytes(20))}/"}},
}


@pytest.mark.parametrize("claim", BUCKETS.values(), ids=BUCKETS.keys())
async def test_a_profile_without_a_bucket_for_the_app_is_unproven(
    resolver: ChainResolver, host: Host, alice: Person, claim: Any
) -> None:
    host.put(_profile_path(alice), profile(alice.owner, claim))
    assert "bucket" in await _refusal(resolver)


async def test_the_key_that_the_profile_states_comes_first(resolver: ChainResolver, host: Host, alice: Person) -> None:
    await resolver.key("alice.id", APP)
    assert not [path for path in host.asked if path.startswith("/hub/")]


@pytest.mark.parametrize("stated", [None, STATIC.public, "nonsense"], ids=["none", "another's", "nonsense"])
async def test_key_files_are_tried_in_order_until_one_fits(
    resolver: ChainResolver, host: Host, stated: str | None
) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    bucket = host.put_person(person, stated_key=stated)
    host.put(bucket + KEY_FILES[1], "not a key")
    host.put(bucket + KEY_FILES[2], json.dumps(STATIC.public))  # a key, but not this bucket's
    host.put(bucket + KEY_FILES[-1], person.app_key.public)
    assert (await resolver.key("alice.id", APP)).hex == person.app_key.public
    assert [path for path in host.asked if path.startswith("/hub/")] == [bucket + file for file in KEY_FILES]


@pytest.mark.parametrize("file", KEY_FILES)
async def test_a_key_may_be_in_any_of_the_known_files(resolver: ChainResolver, host: Host, file: str) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    host.put(host.put_person(person) + file, person.app_key.public)
    assert (await resolver.key("alice.id", APP)).hex == person.app_key.public


async def test_a_bucket_without_a_key_that_fits_is_unproven(resolver: ChainResolver, host: Host) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    host.put(host.put_person(person) + "key.json", STATIC.public)
    with pytest.raises(Refused, match="name_unproven"):
        await resolver.key("alice.id", APP)
    assert await resolver.address("alice.id", APP) == person.app_key.address  # which needs no file


@pytest.mark.parametrize("body", ["", '{"key": "02', "02ab"])
async def test_a_key_file_that_is_being_written_is_unavailable_unless_another_has_the_key(
    resolver: ChainResolver, host: Host, body: str
) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    bucket = host.put_person(person)
    host.put(bucket + KEY_FILES[1], body)
    with pytest.raises(Unavailable, match="names_unavailable"):
        await resolver.key("alice.id", APP)
    host.put(bucket + KEY_FILES[-1], person.app_key.public)
    assert (await resolver.key("alice.id", APP)).hex == person.app_key.public


async def test_what_is_not_there_is_told_from_what_does_not_fit(resolver: ChainResolver, host: Host) -> None:
    """A name, a zone file, a profile, a key file: each can be missing in a lapse."""
    person = make_person("alice.id", APP, secrets.token_bytes)
    url = zone_file(f"{host.url}/{person.data.address}/profile.json")

    async def is_missing() -> bool:
        with pytest.raises(Refused, match="name_unproven") as caught:
            await resolver.key("alice.id", APP)
        return isinstance(caught.value, Missing)

    assert await is_missing()
    for zone in (None, "", " \n"):
        host.put_name("alice.id", person.owner_address, zone)
        assert await is_missing()
    host.put_name("alice.id", person.owner_address, "$ORIGIN alice.id\n")
    assert not await is_missing()
    host.put_name("alice.id", person.owner_address, url)
    assert await is_missing()
    bucket = host.put_person(person)
    assert await is_missing()
    host.put(bucket + KEY_FILES[0], STATIC.public)
    assert not await is_missing()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_key_file_that_has_moved_is_followed_to_where_the_guard_lets_it(
    resolver: ChainResolver, host: Host, status: int
) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    bucket = host.put_person(person)
    host.put("/moved/key.json", json.dumps(person.app_key.public))
    host.put("/once", "", status=status, headers={"Location": "/moved/key.json"})
    host.put(bucket + "key.json", "", status=status, headers={"Location": "/once"})
    assert (await resolver.key("alice.id", APP)).hex == person.app_key.public
    host.put(bucket + "key.json", "", status=status, headers={"Location": f"http://127.0.0.2{bucket}key.json"})
    with pytest.raises(Unavailable):
        await resolver.key("alice.id", APP)


async def test_a_bucket_whose_host_fails_is_unavailable(resolver: ChainResolver, host: Host) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    bucket = host.put_person(person)
    host.put(bucket + "key.json", b"", status=500)
    host.put(bucket + "pk.txt", person.app_key.public)
    with pytest.raises(Unavailable):
        await resolver.key("alice.id", APP)


@pytest.mark.parametrize("ending", ["", "/"])
async def test_a_bucket_url_may_leave_its_last_slash_out(resolver: ChainResolver, host: Host, ending: str) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    url = f"{host.url}/hub/{person.app_key.address}"
    host.put(host.put_person(person, bucket=url + ending) + "key.json", person.app_key.public)
    assert (await resolver.key("alice.id", APP)).hex == person.app_key.public


async def test_a_static_name_needs_no_look_up(resolver: ChainResolver, host: Host) -> None:
    assert await resolver.address("static.id", APP) == STATIC.address
    assert (await resolver.key("static.id", APP)).hex == STATIC.public
    assert host.asked == []
    with pytest.raises(Refused, match="name_unproven"):
        await resolver.address("static.id", "https://other.example")
    assert host.asked == ["/v1/names/static.id"]


async def test_plain_http_is_asked_only_where_the_operator_allows_it(host: Host, alice: Person) -> None:
    async with open_fetcher(allow=frozenset()) as fetcher:
        resolver = ChainResolver(fetcher, NameServices(fetcher, (host.url,), agreement=False), [])
        with pytest.raises(Refused, match="name_unproven") as refusal:
            await resolver.address("alice.id", APP)
    assert "must be an https URL of a public name" in refusal.value.detail
    assert host.asked == [NAME]  # the service is the operator's own; the profile is a stranger's


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/p", "http://a.example/p", "https://a.example:8443/p", "https://localhost/p"],
)
async def test_a_url_that_leads_nowhere_anybody_may_go_is_refused_for_good(
    resolver: ChainResolver, host: Host, url: str
) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    host.put_person(person, bucket=f"{url.removesuffix('/p')}/hub/{person.app_key.address}/")
    with pytest.raises(Refused, match="name_unproven") as refusal:
        await resolver.key("alice.id", APP)
    assert not isinstance(refusal.value, Unavailable)
    assert "The bucket's URL in the profile is not asked" in refusal.value.detail


async def test_a_refusal_says_nothing_of_the_name_or_its_hosts(
    resolver: ChainResolver, host: Host, alice: Person
) -> None:
    host.put(_profile_path(alice), b'["secret text"]')
    detail = await _refusal(resolver)
    assert not [text for text in ("alice", host.url, "secret text", alice.owner_address) if text in detail]
