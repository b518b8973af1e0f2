"""Six steps with Alice and Bob, over real HTTP, explained while they happen."""

import contextlib
import json
from collections.abc import Callable
from typing import Final

from inbox_server.client.ecies import decrypt
from inbox_server.client.sealed import Offer
from inbox_server.client.tickets import PER, Sheet, ids_of, seed_of, ticket_of, week_of
from inbox_server.client.tokens_and_cards import deliver_token, owner_token, read_pointer
from inbox_server.client.user import AppUser
from inbox_server.errors import CommandFailed
from inbox_server.world.cheating import cheat_and_be_caught
from inbox_server.world.evidence import find_marks, marks_of, table_lines
from inbox_server.world.local_world import World
from inbox_server.world.people import Person
from inbox_server.world.witness import Way, whole_log

APP: Final = "https://chat.example"
ALICE: Final = "alice.id"
BOB: Final = "bob.id"
_WAYS: Final[dict[Way, str]] = {
    "signed": "with a token (2)",
    "sealed": "with a ticket (6), of which the server knows that Bob gave it, and not to whom",
}
_TEXT: Final = "Hello Bob, the meadow at noon?"

Say = Callable[[str], None]


class DemoFailed(CommandFailed):
    """A step of the demo failed; the message says which and why."""


async def walk(world: World, say: Say) -> tuple[Person, Person]:
    """Walk the six steps, look at what the server kept, and catch one that cheats. Raises `DemoFailed`."""
    say(f"name service  {world.names_url}    Gaia hub  {world.hub_url}    reads  {world.read_url}")
    say(f"inbox server  {world.inbox_url}    its database  {world.data_dir}\n")
    alice_person, bob_person = await world.settle(ALICE, APP), await world.settle(BOB, APP)
    say(f"Before: {ALICE} and {BOB} have names, profiles signed by their owner keys, and buckets for {APP}.")
    async with contextlib.AsyncExitStack() as stack:
        log = stack.enter_context(whole_log())
        alice = await stack.enter_async_context(world.user(alice_person))
        bob = await stack.enter_async_context(world.user(bob_person))
        await bob.publish((world.inbox_url,), seq=1)
        claimed = await bob.inbox(world.inbox_url).claim({"names": [BOB]})
        _hold(claimed["names"] == 1, "before", "the server did not take Bob's proof of his name")
        say("Before: Bob's app published key.json and his signed inbox card, and claimed his inbox by his name.\n")
        ids = [await _send(world, alice, _TEXT, say)]
        await _read(world, bob, ids[0], say)
        ids.append(await _send_sealed(world, alice, bob, say))
    _show_told(world, log, say)
    _show_database(world, [alice_person, bob_person], ids, say)
    say("")
    audit = await cheat_and_be_caught(world.clock, say)
    _hold(audit.is_accusation and len(audit.found) == 1, "the end", "a server that hid a message was not caught")
    return alice_person, bob_person


async def _send(world: World, alice: AppUser, text: str, say: Say) -> str:
    key, card = await alice.look_up(BOB)
    id = await alice.write_message(text, key)
    say("1. Alice's app looked Bob up (name, zone file, signed profile, bucket), took his app key and his card,")
    say("   and stored the message in her own bucket, encrypted to him and signed by her:")
    say(f"   {alice.bucket.url}outbox/{id}.json\n")
    opaque = alice.encrypt_id(id, key)
    looked_up = world.register.look_ups
    inbox = alice.inbox(card.inboxes[0])
    answer = await inbox.deliver(opaque, sender=ALICE, recipient=BOB)
    say(f"2. It encrypted the message ID to Bob ({len(opaque)} characters, always) and delivered it with a token:")
    say(f"   POST {card.inboxes[0]}/v1/messages  ->  {json.dumps(answer)}\n")
    say("3. The server checked the token's signature and both names (asking the name service only for what it did")
    say(f"   not remember: {world.register.look_ups - looked_up}), and committed to disk before it answered.")
    again = await inbox.deliver(opaque, sender=ALICE, recipient=BOB)
    _hold(again == answer, "3", "delivering the same again was not answered the same")
    say("   The same delivery again gets the same answer: a lost answer is no lost message.\n")
    return id


async def _read(world: World, bob: AppUser, sent: str, say: Say) -> None:
    inbox = bob.inbox(world.inbox_url)
    page = await inbox.unread()
    _hold(len(page["messages"]) == 1, "4", "the list does not hold the one delivery")
    (entry,) = page["messages"]
    say(f"4. Bob's app asked for what is unread, with a token of his own:\n   {entry['message_id'][:90]}…\n")
    pointer = read_pointer(decrypt(bob.key, entry["message_id"]))
    _hold((pointer.id, pointer.sender) == (sent, ALICE), "5", "the decrypted ID is not the one that was sent")
    text = await bob.fetch(pointer)
    _hold(text == _TEXT, "5", "the fetched message is not the one that was sent")
    await inbox.acknowledge([entry["id"]])
    left = await inbox.unread()
    _hold(left["messages"] == [], "5", "the acknowledged entry is still listed")
    changed = await inbox.unread(after=page["cursor"])
    _hold(changed["read"] == [entry["id"]], "5", "another device would not hear that it was read")
    say(f"5. It decrypted the ID, fetched the message from {pointer.sender}'s bucket, and checked that the bucket's")
    say(f"   key had signed it: “{text}”. Then it acknowledged, and the server forgot the text.\n")


async def _send_sealed(world: World, alice: AppUser, bob: AppUser, say: Say) -> str:
    """Bob gives Alice tickets, and she delivers with one. He does not look, so that there is something to see."""
    sheet = Sheet(world.inbox_url, week_of(world.clock()), edition=world.clock())
    await bob.inbox(world.inbox_url).give_tickets(sheet.week, ids_of(bob.key, [alice.key.public], sheet, PER))
    await bob.publish((world.inbox_url,), seq=2, offer=Offer(PER, sheet.edition))
    say(f"6. Bob wants to hear from Alice again. His app derived {PER} tickets from his key and hers, and gave the")
    say("   server a sheet with their IDs, among a thousand others that look the same. His card says so.")
    key, card = await alice.look_up(BOB)
    _hold(card.offer == Offer(PER, sheet.edition), "6", "the card does not offer the tickets")
    id = await alice.write_message("Are you there?", key)
    body = json.dumps({"message_id": alice.encrypt_id(id, key), "to": key.address}).encode()
    shared = alice.key.shared_x(bytes.fromhex(key.hex))
    seed = seed_of(shared, sender=alice.key.public, recipient=key.hex, sheet=sheet)
    answer = await alice.inbox(world.inbox_url).deliver_sealed(body, ticket_of(seed, 0))
    say("   Alice's app derived the same tickets from her key and his. It stored another message, and delivered its")
    say(f"   encrypted ID sealed: with the first ticket, and without a token:\n   {json.dumps(answer)}\n")
    return id


def _show_told(world: World, log: list[str], say: Say) -> None:
    """What the server was told of a delivery of either way, and what of it names Alice."""
    say("What the server was told of these two deliveries, in memory, for the time of its answer:\n")
    marks = {what: mark for what, mark in marks_of(world.people[:1], (), world).items() if ALICE in what}
    named = {way: told.find(marks) for way, told in world.witness.told.items()}
    for way, told in world.witness.told.items():
        say(f"   {_WAYS[way]}:")
        for name, text in told.says().items():
            say(f"      {name:<12}{text}")
        said = ", ".join(named[way]) or "nothing, though her name, keys and addresses were searched for"
        say(f"      of Alice: {said}\n")
    say("   With either, it also sees a network address, which is everybody's here.")
    _hold(bool(named["signed"]), "the end", "a token that names its sender was not seen")
    _hold(not named["sealed"], "the end", "a delivery with a ticket told the server who sent it")
    logged = [what for what, mark in marks.items() if mark in "\n".join(log).encode()]
    _hold(not logged, "the end", f"the log holds {', '.join(logged)}")
    say(f"   Its log, with every level on, got {len(log) or 'no'} lines meanwhile; nothing of Alice is in it.\n")


def _show_database(world: World, people: list[Person], ids: list[str], say: Say) -> None:
    say("What the server's database holds now, every row of it:\n")
    for line in table_lines(world.data_dir):
        say("   " + line)
    marks = marks_of(people, ids, world)
    found = find_marks(world.data_dir, marks)
    _hold(not found, "the end", f"the server's files hold {', '.join(found)}")
    say(f"\nSearched its files for {len(marks)} names, addresses, keys, message IDs and URLs: none is there.")
    say("The server kept nothing but “Bob got something”.")


def _hold(holds: bool, step: str, reason: str) -> None:
    if not holds:
        raise DemoFailed(f"step {step}: {reason}")


def paste_commands(world: World, alice: Person, bob: Person) -> list[str]:
    """Commands to paste while the world is up: Bob's token works for an hour, Alice's for five minutes."""
    now = world.clock()
    body = json.dumps({"message_id": "anything printable; the server never parses it"})
    read = owner_token(bob.app_key, scope="read", app=APP, inbox=world.inbox_url, now=now, seconds=3600)
    deliver = deliver_token(
        alice.app_key, body.encode(), sender=ALICE, recipient=BOB, app=APP, inbox=world.inbox_url, now=now
    )
    return [
        "# what this server is and accepts",
        f"curl -w '\\n' {world.inbox_url}/.well-known/message-inbox",
        "# what waits for Bob (this token works for an hour)",
        f"curl -w '\\n' -H 'Authorization: Bearer {read}' {world.inbox_url}/v1/messages",
        "# Alice delivers (this token works for five minutes, and for this body only)",
        f"curl -w '\\n' -H 'Authorization: Bearer {deliver}' -d '{body}' {world.inbox_url}/v1/messages",
        "# Bob's name and profile, as the server looks them up",
        f"curl -w '\\n' {world.names_url}/v1/names/{BOB}",
        f"curl -w '\\n' {world.read_url}{bob.data.address}/profile.json",
    ]
