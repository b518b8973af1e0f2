"""Unmodified @stacks/storage, @stacks/auth and blockstack.js against the local world's hub and name service."""

from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World
from inbox_server.world.people import Person
from tests.conftest import APP
from tests.support.javascript import Node, open_node, search_path

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(60, func_only=True)

TEXT = "Grüße 🐝"
BYTES = bytes(range(256)).hex()
OPEN = {"encrypt": False}
AS_IT_IS = {"decrypt": False}


@pytest.fixture(scope="session")
def node() -> Node:
    return open_node(search_path())


@pytest.fixture(params=["stacks", "blockstack"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def in_session(node: Node, library: str, world: World, person: Person | AppUser, *calls: Any) -> list[Any]:
    """What a library answers to `(call, path, more)` after another, in one session of the person's."""
    key = person.key if isinstance(person, AppUser) else person.app_key
    token = person.bucket.association if isinstance(person, AppUser) else world.association_token(person)
    user = {
        "name": person.name,
        "app": person.app,
        "privateKey": key.secret.hex(),
        "namesUrl": world.names_url,
        "legacyNamesUrl": world.legacy_names_url,
        "hubUrl": world.hub_url,
        "now": world.clock(),
        **({"associationToken": token} if token else {}),
    }
    given = [{"call": call, "path": path, "options": {}, **more} for call, path, more in calls]
    answers = await node.run("one_session.mjs", {"library": library, "user": user, "calls": given})
    assert isinstance(answers, list)
    return [answer["error"] if isinstance(answer, dict) and "error" in answer else answer for answer in answers]


@pytest.mark.both_hubs
async def test_files_are_put_read_listed_and_deleted(world: World, node: Node, library: str) -> None:
    alice = await world.settle("alice.id", APP)
    bucket = f"{world.read_url}{alice.app_key.address}/"
    answers = await in_session(
        *(node, library, world, alice),
        ("putFile", "notes/ü ber.txt", {"text": TEXT, "options": OPEN}),
        ("getFile", "notes/ü ber.txt", {"options": AS_IT_IS}),
        ("putFile", "picture", {"hex": BYTES}),
        ("getFile", "picture", {}),
        ("putFile", "signed", {"hex": BYTES, "options": OPEN | {"sign": True}}),
        ("getFile", "signed", {"options": AS_IT_IS | {"verify": True}}),
        ("listFiles", "", {}),
        ("listFiles", "", {"stopAfter": 1}),
        ("deleteFile", "signed", {"options": {"wasSigned": True}}),
        ("deleteFile", "picture", {}),
        ("listFiles", "", {}),
        ("getFile", "picture", {}),
        ("deleteFile", "picture", {}),
    )
    assert answers == [
        bucket + "notes/ü ber.txt",
        {"text": TEXT},
        bucket + "picture",
        {"hex": BYTES},
        bucket + "signed",
        {"hex": BYTES},
        {"paths": ["notes/ü ber.txt", "picture", "signed", "signed.sig"], "count": 4},
        {"paths": ["notes/ü ber.txt"], "count": 0},  # both count the files before the one that they stopped at
        "deleted",
        "deleted",
        {"paths": ["notes/ü ber.txt"], "count": 1},
        "DoesNotExist",
        "DoesNotExist",
    ]


async def test_a_bucket_of_many_pages_is_listed_whole(world: World, node: Node, library: str) -> None:
    alice = await world.settle("alice.id", APP)
    paths = [f"{number:03} ü" for number in range(250)]
    for path in paths:
        world.hub.store(alice.app_key.address, path, b"", "text/plain")
    (answer,) = await in_session(node, library, world, alice, ("listFiles", "", {}))
    assert answer == {"paths": paths, "count": 250}


@pytest.mark.both_hubs
async def test_a_session_writes_over_what_it_read_or_wrote_and_after_deleting(
    world: World, alice: AppUser, node: Node, library: str
) -> None:
    await alice.bucket.write("read", b"before", "text/plain")
    answers = await in_session(
        *(node, library, world, alice),
        ("getFile", "read", {"options": AS_IT_IS}),
        ("putFile", "read", {"text": "after", "options": OPEN}),
        ("putFile", "read", {"text": "again", "options": OPEN}),
        ("putFile", "new", {"text": "1", "options": OPEN}),
        ("putFile", "new", {"text": "2", "options": OPEN}),
        ("deleteFile", "new", {}),
        ("putFile", "new", {"text": "3", "options": OPEN}),
    )
    assert "PreconditionFailedError" not in answers
    assert (await alice.bucket.read("read"), await alice.bucket.read("new")) == (b"again", b"3")


@pytest.mark.both_hubs
async def test_a_session_does_not_write_over_what_it_did_not_see(
    world: World, alice: AppUser, node: Node, library: str
) -> None:
    await alice.bucket.write("a", b"by another device", "text/plain")
    answers = await in_session(
        *(node, library, world, alice),
        ("putFile", "a", {"text": "blind", "options": OPEN}),
        ("getFile", "a", {"options": AS_IT_IS}),
        ("putFile", "a", {"text": "seen", "options": OPEN}),
    )
    assert answers[0] == "PreconditionFailedError"
    assert answers[1:] == [{"text": "by another device"}, f"{alice.bucket.url}a"]
    assert await alice.bucket.read("a") == b"seen"

    ignoring = ("putFile", "a", {"text": "over it", "options": OPEN | {"dangerouslyIgnoreEtag": True}})
    assert await in_session(node, library, world, alice, ignoring) == [f"{alice.bucket.url}a"]


@pytest.mark.parametrize("file", ["inbox.json", "key.json"])
@pytest.mark.both_hubs
async def test_who_read_another_s_file_writes_the_own_one_of_that_name_only_without_its_etag(
    world: World, alice: AppUser, bob: AppUser, node: Node, library: str, file: str
) -> None:
    """What `docs/protocol.md` tells apps that write these files with such a library."""
    of_bob = AS_IT_IS | {"username": "bob.id", "app": APP}
    anyway = OPEN | {"dangerouslyIgnoreEtag": True}
    read, refused, written = await in_session(
        *(node, library, world, alice),
        ("getFile", file, {"options": of_bob}),
        ("putFile", file, {"text": "mine", "options": OPEN}),
        ("putFile", file, {"text": "mine", "options": anyway}),
    )
    assert read["text"]
    assert refused == "PreconditionFailedError"
    assert written == f"{alice.bucket.url}{file}"
    assert await alice.bucket.read(file) == b"mine"


async def test_what_changed_since_it_was_read_is_not_written_over(
    world: World, alice: AppUser, node: Node, library: str
) -> None:
    await alice.bucket.write("a", b"1", "text/plain")
    answers = await in_session(
        *(node, library, world, alice),
        ("getFile", "a", {"options": AS_IT_IS}),
        # As another device would: by another URL of the same file, so that the session does not learn its new tag.
        ("putFile", "a?", {"text": "2", "options": OPEN | {"dangerouslyIgnoreEtag": True}}),
        ("putFile", "a", {"text": "3", "options": OPEN}),
    )
    assert answers[-1] == "PreconditionFailedError"


async def test_the_hub_s_refusals_are_the_libraries_own_errors(world: World, node: Node, library: str) -> None:
    alice = await world.settle("alice.id", APP)
    answers = await in_session(
        *(node, library, world, alice),
        ("putFile", "a..b", {"text": "", "options": OPEN}),
        ("putFile", "a", {"hex": "00" * (20 * 2**20 + 1), "options": OPEN}),
        ("getFile", "nothing", {"options": AS_IT_IS}),
    )
    assert answers == ["BadPathError", "PayloadTooLargeError", "DoesNotExist"]


@pytest.mark.both_hubs
async def test_a_profile_is_looked_up_and_names_the_bucket(world: World, node: Node, library: str) -> None:
    alice = await world.settle("alice.id", APP)
    carol = await world.settle("carol.id.blockstack", APP)
    await in_session(node, library, world, carol, ("putFile", "hello.txt", {"text": TEXT, "options": OPEN}))
    of_carol = AS_IT_IS | {"username": "carol.id.blockstack", "app": APP}
    profile, another, nobody, file = await in_session(
        *(node, library, world, alice),
        ("lookupProfile", "", {"username": "alice.id"}),
        ("lookupProfile", "", {"username": "carol.id.blockstack"}),
        ("lookupProfile", "", {"username": "nobody.id"}),
        ("getFile", "hello.txt", {"options": of_carol}),
    )
    bucket = f"{world.read_url}{alice.app_key.address}/"
    assert profile["apps"] == {APP: bucket}
    assert profile["appsMeta"] == {APP: {"storage": bucket, "publicKey": alice.app_key.public}}
    assert another["apps"] == {APP: f"{world.read_url}{carol.app_key.address}/"}
    assert nobody == "Error"
    assert file == {"text": TEXT}


async def test_a_profile_that_another_key_signed_is_refused(world: World, node: Node, library: str) -> None:
    alice, mallory = [await world.settle(name, APP) for name in ("alice.id", "mallory.id")]
    profile = world.hub.read(mallory.data.address, "profile.json")
    assert profile
    world.hub.store(alice.data.address, "profile.json", profile.content, "application/json")
    answers = await in_session(node, library, world, alice, ("lookupProfile", "", {"username": "alice.id"}))
    assert answers == ["Error"]


@pytest.mark.both_hubs
async def test_a_signed_and_encrypted_file_of_another_is_read_by_the_other_library(
    world: World, node: Node, library: str
) -> None:
    alice, bob = [await world.settle(name, APP) for name in ("alice.id", "bob.id")]
    other = "stacks" if library == "blockstack" else "blockstack"
    to_bob = {"encrypt": bob.app_key.public, "sign": True}
    of_alice = {"username": "alice.id", "app": APP, "decrypt": True, "verify": True}
    await in_session(node, library, world, alice, ("putFile", "to-bob.json", {"text": TEXT, "options": to_bob}))
    read = await in_session(node, other, world, bob, ("getFile", "to-bob.json", {"options": of_alice}))
    assert read == [{"text": TEXT}]
