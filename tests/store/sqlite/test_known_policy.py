"""Whose policy SQLite's store remembers, and until when."""

from inbox_server.store.sqlite.policy import OwnersPolicy
from tests.support.stores import BOB, CAROL, Box

ALICE = b"Alice, as Bob's."


async def is_known(box: Box, inbox: bytes = BOB) -> bool:
    return box.store.known_policy(inbox, ALICE) is not None


async def test_a_policy_is_known_once_it_was_read_and_until_the_owner_changes_it(box: Box) -> None:
    assert not await is_known(box)
    await box.store.policy(BOB, b"somebody else...")
    assert await is_known(box)
    await box.deliver("one")
    await box.acknowledge("one")
    await box.deliver("two", life=1)
    box.clock.advance(1)
    await box.sweep()
    assert await is_known(box)
    await box.of(CAROL).claim()
    assert await is_known(box)
    await box.claim(retention=5000)
    assert not await is_known(box)


async def test_neither_long_lists_are_kept_in_memory_nor_inboxes_that_are_not_there(box: Box) -> None:
    addresses = tuple(bytes([number]) * 16 for number in range(17))
    await box.claim(contacts=addresses[:16])
    await box.store.policy(BOB, ALICE)
    assert await is_known(box)
    await box.claim(blocked=addresses[16:])
    await box.store.policy(BOB, ALICE)
    assert not await is_known(box)
    await box.store.policy(CAROL, ALICE)
    assert not await is_known(box, CAROL)


async def test_nothing_is_remembered_of_a_sender(box: Box) -> None:
    await box.store.policy(BOB, ALICE)
    assert box.store.load().policies == 1
    for number in range(50):
        await box.store.policy(BOB, bytes([number]) * 16)
        assert box.store.known_policy(BOB, bytes([number]) * 16) is not None
    assert box.store.load().policies == 1
    assert set(OwnersPolicy.__slots__) == {"app", "accept", "retention", "contacts", "blocked", "channels"}
