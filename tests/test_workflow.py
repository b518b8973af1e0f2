"""The five steps, whole: what the software exists for."""

import pytest

from inbox_server.client.ecies import decrypt
from inbox_server.client.tokens_and_cards import read_pointer
from inbox_server.client.user import AppUser
from inbox_server.world.local_world import World


@pytest.mark.both_hubs
async def test_alice_sends_and_bob_reads(world: World, alice: AppUser, bob: AppUser) -> None:
    key, card = await alice.look_up("bob.id")
    id = await alice.write_message("hello", key)
    await alice.inbox(card.inboxes[0]).deliver(alice.encrypt_id(id, key), sender="alice.id", recipient="bob.id")

    page = await bob.inbox(world.inbox_url).unread()
    (entry,) = page["messages"]
    pointer = read_pointer(decrypt(bob.key, entry["message_id"]))
    assert pointer.sender == "alice.id"
    assert await bob.fetch(pointer) == "hello"

    await bob.inbox(world.inbox_url).acknowledge([entry["id"]])
    assert (await bob.inbox(world.inbox_url).unread())["messages"] == []
