"""The JavaScript client in clients/js against the running servers, and against the Python client."""

import json
import re
import secrets
from pathlib import Path

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.ecies import decrypt, encrypt, sign_envelope
from inbox_server.client.pairs import Pair
from inbox_server.client.tokens_and_cards import Pointer, linked, make_card, make_message_id, read_pointer
from inbox_server.client.user import AppUser, NotReachable
from inbox_server.clock import system_clock
from inbox_server.protocol.bearer import DELIVER, OWNER
from inbox_server.protocol.requests import parse_usual_delivery
from inbox_server.protocol.usual_bearer import read_usual_bearer
from inbox_server.world.local_world import World
from tests.conftest import APP, START, HandClock
from tests.support.javascript import CLIENT, Node
from tests.support.pages import Failed, Page, page_of

# npm ci has its own limit, and comes in only once.
pytestmark = pytest.mark.timeout(60, func_only=True)

MESSAGE = "Grüße, Bob! 正午に草原で 🐝"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def alice_page(node: Node, world: World, alice: AppUser) -> Page:
    return page_of(node, world, alice.key, "alice.id")


@pytest.fixture
async def bob_page(node: Node, world: World) -> Page:
    """bob.id, who published and claimed in JavaScript."""
    person = await world.settle("bob.id", APP)
    page = page_of(node, world, person.app_key, "bob.id")
    await page.call("publish", [world.inbox_url])
    (claimed,) = await page.call("claim", {"names": ["bob.id"]})
    assert claimed["result"]["names"] == 1
    return page


@pytest.fixture
async def bob_with_two(bob_page: Page, world: World, second_inbox: str) -> Page:
    """Bob, with both inbox servers on his card."""
    await bob_page.call("publish", [world.inbox_url, second_inbox])
    claimed = await bob_page.call("claim", {"names": ["bob.id"]})
    assert [report["result"]["names"] for report in claimed] == [1, 1]
    return bob_page


# With the Python client


@pytest.mark.parametrize("content", [MESSAGE, "", "x" * 100_000])
async def test_what_javascript_sends_python_reads(alice_page: Page, bob: AppUser, world: World, content: str) -> None:
    report = await alice_page.call("send", "bob.id", content)
    assert [stored["inbox"] for stored in report["stored"]] == [world.inbox_url]
    assert (report["waiting"], report["refused"]) == ([], [])

    (entry,) = (await bob.inbox(world.inbox_url).unread())["messages"]
    assert entry["id"] == report["stored"][0]["id"]
    assert len(entry["message_id"]) == 816
    pointer = read_pointer(decrypt(bob.key, entry["message_id"]))
    pair = Pair.of(AppKey.from_hex(alice_page.options["privateKey"]).public, bob.key)
    assert pointer == linked(Pointer(report["id"], "alice.id", APP), pair, 1, bytes(16))
    assert await bob.fetch(pointer) == content


@pytest.mark.parametrize("content", [MESSAGE, ""])
@pytest.mark.both_hubs
async def test_what_python_sends_javascript_reads(alice: AppUser, bob_page: Page, world: World, content: str) -> None:
    key, card = await alice.look_up("bob.id")
    assert card.inboxes == (world.inbox_url,)
    id = await alice.write_message(content, key)
    await alice.inbox(card.inboxes[0]).deliver(alice.encrypt_id(id, key), sender="alice.id", recipient="bob.id")

    (entry,) = (await bob_page.call("unread"))["entries"]
    message = await bob_page.call("fetch", entry)
    assert (message["id"], message["from"], message["content"]) == (id, "alice.id", content)
    assert await bob_page.call("acknowledge", [entry]) == [{"inbox": world.inbox_url}]
    assert await bob_page.call("unread") == {"entries": [], "problems": []}


@pytest.mark.both_hubs
async def test_cards_are_read_by_the_other_side(alice: AppUser, bob_page: Page, world: World) -> None:
    _, card = await alice.look_up("bob.id")
    assert card.inboxes == (world.inbox_url,)
    await alice.publish((world.inbox_url,), seq=card.seq)
    await alice.inbox(world.inbox_url).claim({"names": ["alice.id"]})
    assert (await bob_page.call("send", "alice.id", MESSAGE))["stored"] != []


async def test_its_tokens_and_bodies_are_read_the_fast_way(alice_page: Page, bob_page: Page) -> None:
    await alice_page.call("send", "bob.id", MESSAGE)
    unread = await bob_page.call("unread")
    await bob_page.call("acknowledge", unread["entries"])
    sent = [
        request for page in (alice_page, bob_page) for request in page.requests if request["type"] in (DELIVER, OWNER)
    ]
    assert {request["type"] for request in sent} == {DELIVER, OWNER}
    for request in sent:
        assert read_usual_bearer(request["authorization"], request["type"]), request
        assert request["type"] != DELIVER or parse_usual_delivery(request["body"].encode())


# Between pages in JavaScript


async def test_bytes_come_out_as_bytes(alice_page: Page, bob_page: Page) -> None:
    sent = {"hex": bytes(range(256)).hex()}
    await alice_page.call("send", "bob.id", {"content": sent})
    assert await bob_page.read_all() == [sent]


@pytest.mark.parametrize("text", ["cut in half \ud83d", "\udc1d", "\udc1d\ud83d"])
async def test_half_of_a_surrogate_pair_is_no_text_and_is_not_sent(alice_page: Page, bob_page: Page, text: str) -> None:
    with pytest.raises(Failed, match="TypeError: The message has half of a surrogate pair"):
        await alice_page.call("send", "bob.id", text)
    assert alice_page.requests == []
    await alice_page.call("send", "bob.id", "whole \U0001f41d")
    assert await bob_page.read_all() == ["whole \U0001f41d"]


@pytest.mark.parametrize("content", [7, None, {"text": "hello"}, [104, 105]])
async def test_what_is_neither_text_nor_bytes_is_not_sent(alice_page: Page, bob_page: Page, content: object) -> None:
    with pytest.raises(Failed, match=r"TypeError: The message must be a string or a .Uint8Array."):
        await alice_page.call("send", "bob.id", content)
    assert alice_page.requests == []


async def test_people_without_names_reach_each_other_by_key_and_by_address(node: Node, world: World) -> None:
    alice, bob = (page_of(node, world, AppKey(secrets.token_bytes(32)), names=[]) for _ in range(2))
    for page in (alice, bob):
        await page.call("publish", [world.inbox_url])
        await page.call("claim", {"accept": "anyone"})
    key = AppKey.from_hex(bob.options["privateKey"])
    await alice.call("send", key.public, "to the key")
    await alice.call("send", key.address, "to the address")
    assert await bob.read_all() == ["to the key", "to the address"]
    for entry in (await bob.call("unread"))["entries"]:
        pointer = json.loads(decrypt(key, entry["messageId"]))
        assert pointer["url"] == f"{world.read_url}{AppKey.from_hex(alice.options['privateKey']).address}/"


async def test_seq_grows_with_every_card_also_where_nothing_is_remembered(bob_page: Page, world: World) -> None:
    bob_page.stored = {}
    card = await bob_page.call("publish", [world.inbox_url])
    # And `sheets`: the week is by the `Date` of answers, which aiohttp takes from this machine's clock.
    assert (card["seq"], card["inboxes"]) == (START + 1, [world.inbox_url])


async def test_senders_take_the_card_of_a_person_who_lost_everything_or_gave_all_up(
    alice_page: Page, bob_page: Page, world: World, clock: HandClock
) -> None:
    for _ in range(3):
        await bob_page.call("publish", [world.inbox_url])
    await alice_page.call("send", "bob.id", MESSAGE)  # and remembers how high `seq` was
    clock.advance(60)
    await bob_page.call("forget")
    bob_page.stored = {}
    await bob_page.call("claim", {"names": ["bob.id"]}, {"inboxes": [world.inbox_url]})
    await bob_page.call("publish", [world.inbox_url])
    assert (await alice_page.call("send", "bob.id", MESSAGE))["stored"] != []


async def test_an_older_card_than_one_seen_before_is_refused(
    alice_page: Page, bob_page: Page, world: World, alice: AppUser
) -> None:
    key, _ = await alice.look_up("bob.id")
    old = world.hub.read(key.address, "inbox.json")
    assert old
    await bob_page.call("publish", [world.inbox_url])
    await alice_page.call("send", "bob.id", MESSAGE)
    world.hub.store(key.address, "inbox.json", old.content, old.content_type)
    with pytest.raises(Failed, match=r"BadCard: .* older than one seen before"):
        await alice_page.call("send", "bob.id", MESSAGE)


async def test_a_card_that_another_key_signed_is_refused(alice_page: Page, bob: AppUser) -> None:
    mallory = AppKey(secrets.token_bytes(32))
    await bob.bucket.write("inbox.json", make_card(mallory, (NOWHERE,), seq=9, now=START))
    with pytest.raises(Failed, match="BadCard"):
        await alice_page.call("send", "bob.id", MESSAGE)


async def test_without_a_card_nothing_is_sent(alice_page: Page, alice: AppUser, world: World) -> None:
    await world.settle("bob.id", APP)
    with pytest.raises(Failed, match="BadCard: There is no inbox card"):
        await alice_page.call("send", "bob.id", MESSAGE)
    assert world.hub.list(alice.key.address, None).files == {}


async def test_a_message_that_another_key_signed_is_not_authentic(alice: AppUser, bob_page: Page, world: World) -> None:
    key, _ = await alice.look_up("bob.id")
    mallory = AppKey(secrets.token_bytes(32))
    id = secrets.token_hex(16)
    text = encrypt(key.hex, MESSAGE, ephemeral=AppKey(secrets.token_bytes(32)), iv=secrets.token_bytes(16))
    await alice.bucket.write(f"outbox/{id}.json", sign_envelope(mallory, text).encode())
    await alice.inbox(world.inbox_url).deliver(alice.encrypt_id(id, key), sender="alice.id", recipient="bob.id")
    with pytest.raises(Failed, match="NotAuthentic"):
        await bob_page.read_all()


async def test_a_message_of_another_app_is_not_shown_in_this_one(alice: AppUser, bob_page: Page, world: World) -> None:
    key, _ = await alice.look_up("bob.id")
    pointer = Pointer(secrets.token_hex(16), "alice.id", "https://other.example")
    opaque = make_message_id(pointer, key.hex, ephemeral=AppKey(secrets.token_bytes(32)), iv=secrets.token_bytes(16))
    await alice.inbox(world.inbox_url).deliver(opaque, sender="alice.id", recipient="bob.id")
    with pytest.raises(Failed, match="NotAuthentic: The message is of another app"):
        await bob_page.read_all()


@pytest.mark.both_hubs
async def test_what_its_sender_removed_is_absent(
    alice_page: Page, bob_page: Page, alice: AppUser, world: World
) -> None:
    report = await alice_page.call("send", "bob.id", MESSAGE)
    world.hub.delete(alice.key.address, f"outbox/{report['id']}.json")
    with pytest.raises(Failed, match="Absent"):
        await bob_page.read_all()


@pytest.mark.both_hubs
async def test_hub_tokens_go_to_the_hub_and_inbox_tokens_to_the_inbox(
    alice_page: Page, bob_page: Page, world: World
) -> None:
    await alice_page.call("send", "bob.id", MESSAGE)
    await bob_page.read_all()
    seen = {(each["origin"], each["type"]) for each in alice_page.requests + bob_page.requests if each["type"]}
    assert seen == {
        (world.hub_url, "JWT"),
        (world.inbox_url, "inbox-deliver+jwt"),
        (world.inbox_url, "inbox-owner+jwt"),
    }


# Several inboxes, and refusals


async def test_a_message_is_stored_at_both_inboxes_and_read_once(alice_page: Page, bob_with_two: Page) -> None:
    report = await alice_page.call("send", "bob.id", MESSAGE)
    assert len(report["stored"]) == 2
    (entry,) = (await bob_with_two.call("unread"))["entries"]
    assert sorted(entry["inboxes"]) == sorted(stored["inbox"] for stored in report["stored"])
    assert len(await bob_with_two.call("acknowledge", [entry])) == 2
    assert await bob_with_two.call("unread") == {"entries": [], "problems": []}


async def test_an_inbox_that_is_down_gets_the_same_delivery_later(
    alice_page: Page, bob_with_two: Page, world: World, second_inbox: str, clock: HandClock
) -> None:
    alice_page.down = [second_inbox]
    report = await alice_page.call("send", "bob.id", MESSAGE)
    assert [stored["inbox"] for stored in report["stored"]] == [world.inbox_url]
    assert [(each["inbox"], each["problem"]["error"]) for each in report["waiting"]] == [(second_inbox, "Unreachable")]

    alice_page.down = []
    clock.advance(30)  # the first pause is at most so long
    (again,) = await alice_page.call("retry")
    assert [stored["inbox"] for stored in again["stored"]] == [second_inbox]
    bodies = [json.loads(each["body"]) for each in alice_page.requests if each["type"] == "inbox-deliver+jwt"]
    assert len({body["message_id"] for body in bodies}) == 1
    assert await alice_page.call("waiting") == []
    assert await bob_with_two.read_all() == [MESSAGE]


async def test_what_was_read_is_not_listed_by_a_server_that_was_down_when_it_was_acknowledged(
    alice_page: Page, bob_with_two: Page, world: World, second_inbox: str
) -> None:
    await alice_page.call("send", "bob.id", MESSAGE)
    unread = await bob_with_two.call("unread")
    bob_with_two.down = [second_inbox]
    reports = await bob_with_two.call("acknowledge", unread["entries"])
    assert [report["inbox"] for report in reports if "problem" in report] == [second_inbox]

    left = await bob_with_two.call("unread")
    assert (left["entries"], [each["inbox"] for each in left["problems"]]) == ([], [second_inbox])
    bob_with_two.down = [world.inbox_url]
    assert (await bob_with_two.call("unread"))["entries"] == []
    bob_with_two.down, bob_with_two.stored = [], {}  # another device, which knows nothing of it
    assert await bob_with_two.call("unread") == {"entries": [], "problems": []}


async def test_an_unread_list_that_no_server_answered_is_no_empty_list(bob_page: Page, world: World) -> None:
    bob_page.down = [world.inbox_url]
    with pytest.raises(Failed, match="Unreachable"):
        await bob_page.call("unread")


async def test_the_own_inboxes_are_remembered_for_when_the_hub_is_down(bob_page: Page, world: World) -> None:
    bob_page.down = [world.hub_url]
    unread = await bob_page.call("unread")
    assert (unread["entries"], unread["problems"], unread["card"]["error"]) == ([], [], "Unreachable")
    bob_page.stored = {}
    with pytest.raises(Failed, match="Unreachable"):
        await bob_page.call("unread")


async def test_a_refusal_is_reported_with_its_reason_and_not_repeated(alice_page: Page, bob_page: Page) -> None:
    await bob_page.call("claim", {"accept": "nobody"})
    report = await alice_page.call("send", "bob.id", MESSAGE)
    assert [each["problem"]["code"] for each in report["refused"]] == ["not_accepted"]
    assert (report["stored"], report["waiting"]) == ([], [])
    assert await alice_page.call("waiting") == []


async def test_after_not_accepted_a_sender_follows_the_card_to_the_new_inbox(
    alice_page: Page, bob_page: Page, world: World, second_inbox: str
) -> None:
    alice_page.down = [world.inbox_url]
    await alice_page.call("send", "bob.id", MESSAGE)
    await bob_page.call("claim", {"accept": "nobody"})
    await bob_page.call("publish", [second_inbox])
    await bob_page.call("claim", {"accept": "anyone", "names": ["bob.id"]})

    alice_page.down = []
    (report,) = await alice_page.call("retry", clock_ahead=30)
    assert [each["inbox"] for each in report["refused"]] == [world.inbox_url]
    assert [each["inbox"] for each in report["stored"]] == [second_inbox]


@pytest.mark.parametrize("unreachable", ["names_url", "reader_origin"])
async def test_not_accepted_is_not_final_while_the_card_cannot_be_read(
    alice_page: Page, bob_page: Page, world: World, second_inbox: str, unreachable: str
) -> None:
    alice_page.down = [world.inbox_url]
    await alice_page.call("send", "bob.id", MESSAGE)
    await bob_page.call("claim", {"accept": "nobody"})
    await bob_page.call("publish", [second_inbox])
    await bob_page.call("claim", {"accept": "anyone", "names": ["bob.id"]})

    alice_page.down = [getattr(world, unreachable)]
    (report,) = await alice_page.call("retry", clock_ahead=30)
    assert [each["problem"]["code"] for each in report["waiting"]] == ["not_accepted"]
    assert (report["stored"], report["refused"]) == ([], [])
    assert len(await alice_page.call("waiting")) == 1

    alice_page.down = []
    (report,) = await alice_page.call("retry", clock_ahead=120)
    assert report["refused"] == []  # the card, which is read first, does not lead there any more
    assert [each["inbox"] for each in report["stored"]] == [second_inbox]


async def test_a_delivery_that_waits_for_a_day_follows_the_card(
    alice_page: Page, bob_page: Page, world: World, second_inbox: str, clock: HandClock
) -> None:
    alice_page.down = [world.inbox_url]
    await alice_page.call("send", "bob.id", MESSAGE)
    await bob_page.call("publish", [second_inbox])
    await bob_page.call("claim", {"names": ["bob.id"]})
    clock.advance(86_400)
    (report,) = await alice_page.call("retry")
    assert [each["inbox"] for each in report["stored"]] == [second_inbox]
    assert await alice_page.call("waiting") == []  # the old inbox is not on the card any more


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_wrong_clock_is_corrected_by_the_servers(bob_page: Page, ahead: int) -> None:
    assert await bob_page.call("unread", clock_ahead=ahead) == {"entries": [], "problems": []}


async def test_a_given_up_inbox_is_gone(bob_page: Page, world: World) -> None:
    (settings,) = await bob_page.call("settings")
    assert settings["result"]["accept"] == "names"
    assert await bob_page.call("forget") == [{"inbox": world.inbox_url}]
    with pytest.raises(Failed, match="BadCard: Your bucket has no inbox card"):
        await bob_page.call("unread")
    bob_page.options = {**bob_page.options, "inboxes": [world.inbox_url]}
    with pytest.raises(Failed, match=r"Refused: .*no_inbox"):
        await bob_page.call("unread")


@pytest.mark.both_hubs
async def test_the_card_is_withdrawn_before_an_inbox_is_given_up(
    alice_page: Page, alice: AppUser, bob_page: Page, world: World
) -> None:
    bob_page.down = [world.hub_url]
    with pytest.raises(Failed, match="Unreachable"):
        await bob_page.call("forget")
    bob_page.down = []
    (kept,) = await bob_page.call("settings")
    assert "result" in kept
    await bob_page.call("forget")
    with pytest.raises(NotReachable, match="was withdrawn"):
        await alice.look_up("bob.id")
    with pytest.raises(Failed, match=r"BadCard: .* was withdrawn"):
        await alice_page.call("send", "bob.id", MESSAGE)


async def test_an_inbox_that_is_down_is_given_up_when_it_is_repeated(
    bob_with_two: Page, world: World, second_inbox: str
) -> None:
    bob_with_two.down = [second_inbox]
    reports = await bob_with_two.call("forget")
    assert {each["inbox"]: "problem" in each for each in reports} == {world.inbox_url: False, second_inbox: True}
    bob_with_two.down = []
    assert await bob_with_two.call("forget") == [{"inbox": second_inbox}]
    with pytest.raises(Failed, match="BadCard: You have no inbox to give up"):
        await bob_with_two.call("forget")


async def test_an_inbox_is_claimed_before_the_card_leads_there(
    bob_page: Page, world: World, second_inbox: str, alice: AppUser
) -> None:
    (claimed,) = await bob_page.call("claim", {"names": ["bob.id"]}, {"inboxes": [second_inbox]})
    assert (claimed["inbox"], claimed["result"]["names"]) == (second_inbox, 1)
    _, card = await alice.look_up("bob.id")
    assert card.inboxes == (world.inbox_url,)


async def test_another_device_follows_the_card_when_its_inbox_is_gone(
    node: Node, bob_page: Page, world: World, second_inbox: str
) -> None:
    given = {
        "options": bob_page.options,
        "now": world.clock(),
        "inboxes": [second_inbox],
        "settings": {"names": ["bob.id"]},
    }
    moved = await node.run("inbox_moved.mjs", given)
    assert moved == {"before": [world.inbox_url], "after": [second_inbox], "up": [world.inbox_url, second_inbox]}


@pytest.mark.parametrize("ahead", [600, 31 * 86_400, -7200])
async def test_a_card_and_the_reading_of_cards_go_by_the_servers_clock(
    alice_page: Page, bob_page: Page, alice: AppUser, world: World, ahead: int
) -> None:
    await bob_page.call("publish", [world.inbox_url], clock_ahead=ahead)
    _, card = await alice.look_up("bob.id")
    assert card.seq == START + 1
    await alice_page.call("publish", [world.inbox_url])
    assert (await alice_page.call("send", "bob.id", MESSAGE, clock_ahead=ahead))["stored"] != []


async def test_who_cannot_ask_for_the_time_is_told_that_the_clock_may_be_wrong(
    node: Node, bob_page: Page, world: World
) -> None:
    person = await world.settle("carol.id", APP)
    carol = page_of(node, world, person.app_key, "carol.id")
    with pytest.raises(Failed, match="not valid yet; or the clock of this device is wrong"):
        await carol.call("send", "bob.id", MESSAGE, clock_ahead=-7200)


# The README

_PRELUDE = """\
import {{ MemoryStorage }} from {library};
const userData = {user};
const localStorage = new MemoryStorage();
const location = {{ origin: {app} }};
console.log = (...what) => process.stdout.write(`${{JSON.stringify(what)}}\\n`);
"""


async def test_the_example_reads_on_after_an_entry_that_nobody_can_read(
    node: Node, alice: AppUser, bob: AppUser, world: World, tmp_path: Path
) -> None:
    match = re.search(r"## Send and read\n\n```js\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    assert match
    library = json.dumps((CLIENT / "dist" / "index.js").as_uri())
    user = json.dumps({"appPrivateKey": alice.key.secret.hex(), "hubUrl": world.hub_url})
    example = match[1].replace("'message-inbox-client'", library).replace("https://inbox.example", world.inbox_url)
    script = tmp_path / "example.mjs"
    prelude = _PRELUDE.format(library=library, user=user, app=json.dumps(APP))
    script.write_text(prelude + example.replace("https://api.hiro.so", world.names_url))

    await alice.inbox(world.inbox_url).claim({"names": ["alice.id"]})
    await alice.publish((world.inbox_url,), seq=1)
    key, card = await bob.look_up("alice.id")
    inbox = bob.inbox(card.inboxes[0])
    await inbox.deliver("nobody can read this", sender="bob.id", recipient="alice.id")
    id = await bob.write_message(MESSAGE, key)
    await inbox.deliver(bob.encrypt_id(id, key), sender="bob.id", recipient="alice.id")
    async with node.start(script, {}) as printed:
        assert (await printed.next())[0] == "Not to be read:"
        assert await printed.next() == ["bob.id", MESSAGE]


# For the settings page


@pytest.fixture
def of_today(clock: HandClock) -> HandClock:
    """`Date` is of the machine's clock, whatever the world's is."""
    clock.now = system_clock()
    return clock


async def test_a_good_url_is_ok_however_it_is_typed(node: Node, world: World, of_today: HandClock) -> None:
    page = Page(node, world, {})
    for typed in (world.inbox_url, f" {world.inbox_url}/ ", f"{world.inbox_url}/v1/messages?x#y"):
        checked = await page.call("check", typed)
        assert (checked["ok"], checked["origin"], checked["problems"]) == (True, world.inbox_url, [])
        assert checked["capabilities"]["registration"] == "open"
        assert checked.get("dropped") == ("/v1/messages?x#y" if "?" in typed else None)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("not a url", "not a web address"),
        ("", "not a web address"),
        ("ftp://inbox.example", "not a web address"),
        ("{hub}", "not as an inbox server does"),
        ("{names}", "not as an inbox server does"),
        (NOWHERE, "could not be reached"),
        ("{localhost}", "answers for another address"),
    ],
)
async def test_a_bad_url_is_told_in_words(node: Node, world: World, typed: str, problem: str) -> None:
    localhost = world.inbox_url.replace("127.0.0.1", "localhost")
    url = typed.format(hub=world.hub_url, names=world.names_url, localhost=localhost)
    checked = await Page(node, world, {}).call("check", url)
    assert not checked["ok"]
    assert len(checked["problems"]) == 1
    assert problem in checked["problems"][0]


@pytest.mark.parametrize(("ahead", "words"), [(3600, "ahead of the server's"), (-3600, "behind the server's")])
async def test_a_device_whose_clock_is_wrong_is_told(
    node: Node, world: World, of_today: HandClock, ahead: int, words: str
) -> None:
    checked = await Page(node, world, {}).call("check", world.inbox_url, clock_ahead=ahead)
    (problem,) = checked["problems"]
    assert words in problem
