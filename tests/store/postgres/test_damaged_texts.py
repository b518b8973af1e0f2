"""Texts that a disk has changed: each is listed without its text, and the page has all others."""

from pathlib import Path

import pytest

from tests.store.postgres.conftest import Opened, beside
from tests.support.stores import id_of

pytestmark = pytest.mark.postgres

DAMAGE = {
    "its first byte, which says how long it is": "set_byte(body, 0, 255)",
    "its length, by a little": "set_byte(body, 1, get_byte(body, 1) + 1)",
    "a length that is just too long": "set_byte(set_byte(body, 0, 4), 1, 255)",
    "its nonce": "set_byte(body, 5, get_byte(body, 5) # 1)",
    "what is sealed": "set_byte(body, 60, get_byte(body, 60) # 1)",
    "all of it": "decode(repeat('ff', length(body)), 'hex')",
    "its end": "substr(body, 1, 50)",
    "everything but nothing": "''",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_text_that_a_disk_has_changed_leaves_the_others_whole(
    opened: Opened, tmp_path: Path, damage: str
) -> None:
    async with opened() as box, beside(tmp_path) as disk:
        await box.claim()
        for text in ("before", "changed", "after"):
            await box.deliver(text)
        await disk.execute(f"UPDATE text SET body = {damage} WHERE id = $1", id_of("changed"))
        assert [(entry.id, entry.message_id) for entry in await box.entries()] == [
            (id_of("before"), "before"),
            (id_of("changed"), ""),
            (id_of("after"), "after"),
        ]
        await box.acknowledge("changed")
        assert await box.texts() == ["before", "after"]
