"""Pages that SQLite itself writes: taken whenever they can be, and never when a text is not as it was written."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from inbox_server.store.contract import Page, ReadyEntries
from inbox_server.store.sqlite.opening import DATABASE_NAME
from tests.support.stores import Box, entries_of, id_of, texts_of

LONGEST = "~" * 1024
ALL_CHARACTERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\')


def is_ready(page: Page) -> bool:
    return isinstance(page.messages, ReadyEntries)


def rewrite(folder: Path, old: bytes, new: bytes) -> None:
    """As a failing disk does: other bytes of the same length, in the only slot that has these."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as db:
        slots = [(slot, body) for slot, body in db.execute("SELECT slot, body FROM text") if old in body]
        [(slot, body)] = slots
        assert len(old) == len(new)
        db.execute("UPDATE text SET body = ? WHERE slot = ?", (body.replace(old, new), slot))


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 250])
async def test_every_page_of_what_was_delivered_is_ready(box: Box, count: int) -> None:
    texts = [f"{number}, opaque" for number in range(count)]
    for text in texts:
        await box.deliver(text)
    listed, page = list[str](), await box.page(limit=100)
    while True:
        assert is_ready(page)
        listed += texts_of(page)
        if not page.more:
            break
        page = await box.page(page.cursor, limit=100)
    assert listed == texts


IN_JSON = '{"iv":"0123","mac":"4567","wasString":true,"cipherText":"' + "+/" * 300 + '=="}'  # as clients make them


@pytest.mark.parametrize("text", ["x", LONGEST, ALL_CHARACTERS, "%", "','expires':0},{", IN_JSON, '"', '""', '"' * 512])
async def test_whatever_a_message_id_may_be_its_page_is_ready(box: Box, text: str) -> None:
    await box.deliver(text)
    page = await box.page()
    assert is_ready(page)
    assert texts_of(page) == [text]


@pytest.mark.parametrize("text", ['"' * 513, "\\", "\\" * 1024, '\\"', '"\\', "\\n", '"},{"id":"'])
async def test_a_text_with_much_to_escape_is_listed_as_it_was_delivered(box: Box, text: str) -> None:
    for each in ("before", text, IN_JSON):
        await box.deliver(each)
    page = await box.page()
    assert texts_of(page) == ["before", text, IN_JSON]
    assert {entry.id for entry in entries_of(page)} == {id_of("before"), id_of(text), id_of(IN_JSON)}
    await box.acknowledge(text)
    assert is_ready(await box.page())


async def test_a_page_is_ready_after_a_cursor_and_beside_what_was_read(box: Box) -> None:
    for text in ("one", "two", "three"):
        await box.deliver(text)
    cursor = await box.cursor()
    await box.acknowledge("two")
    await box.deliver("four")
    await box.deliver("one", life=5000)
    page = await box.page(cursor)
    assert is_ready(page)
    assert (texts_of(page), page.read) == (["four", "one"], (id_of("two"),))


async def test_a_page_with_nothing_in_it_has_no_entries_of_either_kind(box: Box) -> None:
    cursor = await box.cursor()
    assert (await box.page()).messages == ()
    await box.deliver("one")
    await box.acknowledge("one")
    page = await box.page(cursor)
    assert (page.messages, page.read) == ((), (id_of("one"),))


@pytest.mark.parametrize("put", [b'"', b"\\", b"\0", b"\x01", b"\x1f", b"\x7f", b"\n", b"\xff", "é".encode()[:1]])
async def test_a_text_that_a_disk_has_changed_is_listed_as_json_all_the_same(
    box: Box, tmp_path: Path, put: bytes
) -> None:
    for text in ("before", "a mark", "after"):
        await box.deliver(text)
    rewrite(tmp_path, b"a mark", b"a" + put + b"mark")
    page = await box.page()
    assert not is_ready(page)
    before, changed, after = entries_of(page)
    assert (before.message_id, changed.id, after.message_id) == ("before", id_of("a mark"), "after")
    assert changed.message_id == "a" + put.decode("ascii", "replace") + "mark"


async def test_a_slot_whose_write_was_lost_is_listed_by_the_id_that_was_delivered(box: Box, tmp_path: Path) -> None:
    await box.deliver("opaque")
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE text SET body = zeroblob(1083)")
    (entry,) = await box.entries()
    assert (entry.id, entry.message_id) == (id_of("opaque"), "\0" * len("opaque"))
