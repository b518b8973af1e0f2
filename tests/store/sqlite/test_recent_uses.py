"""Uses of tickets on their way into the sheets: none is lost or doubled, and their places say nothing about when."""

import random
import sqlite3

from inbox_server.store.sqlite.recent_uses import UNUSED, Place, RecentUses, Use
from inbox_server.store.sqlite.sheets import insert_sheet, tickets_of

TICKETS = 1024
ROOM = 32 * 150  # as many uses as there is room for
MOST_PARTS = 1024
USE_BYTES = 26


def sheets(db: sqlite3.Connection, count: int, dice: random.Random, tickets: int = TICKETS) -> list[int]:
    """The numbers of new sheets."""
    for _ in range(count):
        unused = [(number.to_bytes(16, "big"), UNUSED) for number in range(tickets)]
        insert_sheet(db, dice.randbytes(16), 2952, unused, dice.randrange)
    return [number for (number,) in db.execute("SELECT number FROM sheet ORDER BY inbox")]


def moved(db: sqlite3.Connection) -> dict[Place, bytes]:
    """What the sheets say."""
    rows = db.execute("SELECT number, ids, used FROM sheet")
    marks = ((number, enumerate(tickets_of(ids, used))) for number, ids, used in rows)
    return {Place(number, 16 * n): mark for number, row in marks for n, (_, mark) in row if mark != UNUSED}


def pages(db: sqlite3.Connection) -> dict[int, list[bytes]]:
    """The uses on each page that has any."""
    found = {}
    for page, body in db.execute("SELECT page, body FROM recent_use"):
        each = [body[at : at + USE_BYTES] for at in range(0, 150 * USE_BYTES, USE_BYTES)]
        if any(body):
            found[page] = [use for use in each if any(use)]
            assert each[: len(found[page])] == found[page]  # no gaps
    return found


def use_all(db: sqlite3.Connection, uses: RecentUses, new: list[Use]) -> None:
    assert all(uses.take(db, place) for place, _ in new)
    uses.add(db, new)


def test_every_use_is_kept_once_whatever_is_rolled_back_given_back_emptied_or_begun_anew(
    db: sqlite3.Connection,
) -> None:
    dice = random.Random(1)
    numbers, uses = sheets(db, 12, dice), RecentUses(dice.randrange)
    places = [Place(number, 16 * at) for number in numbers for at in range(TICKETS)]
    used: dict[Place, bytes] = {}
    for _ in range(300):
        db.execute("BEGIN")
        some = dice.sample(places, dice.choice((1, 1, 20, 64, 300)))
        taken = [place for place in some if uses.take(db, place)]
        assert taken == [place for place in some if place not in used]
        assert not any(uses.take(db, place) for place in taken)
        kept = [Use(place, dice.randbytes(16)) for place in taken if dice.random() < 0.9]
        for place in set(taken) - {place for place, _ in kept}:
            uses.give_back(place)
        uses.add(db, kept)
        if dice.random() < 0.1:
            uses.empty(db)
            assert not pages(db)
        if dice.random() < 0.1:
            db.execute("ROLLBACK")
            uses.forget()
        else:
            db.execute("COMMIT")
            used |= dict(kept)
        if dice.random() < 0.1:
            uses = RecentUses(dice.randrange)  # a server that was killed, and another one
        for place in dice.sample(places, 20):
            assert uses.mark_at(db, place) == used.get(place, UNUSED)
    assert len(used) > ROOM
    uses.empty(db)
    assert moved(db) == used
    assert not pages(db)


def test_when_there_is_no_room_left_those_before_are_in_their_sheets(db: sqlite3.Connection) -> None:
    dice = random.Random(2)
    numbers, uses = sheets(db, 6, dice), RecentUses(dice.randrange)
    places = dice.sample([Place(number, 16 * at) for number in numbers for at in range(TICKETS)], ROOM + 50)
    new = [Use(place, dice.randbytes(16)) for place in places]
    for start in range(0, ROOM, 100):
        use_all(db, uses, new[start : start + 100])
        assert not moved(db)
    assert sum(map(len, pages(db).values())) == ROOM
    use_all(db, uses, new[ROOM:])
    assert moved(db) == dict(new[:ROOM])
    assert sum(map(len, pages(db).values())) == 50


def test_no_commit_has_to_write_very_many_sheets(db: sqlite3.Connection) -> None:
    dice = random.Random(3)
    numbers, uses = sheets(db, MOST_PARTS + 500, dice, tickets=10), RecentUses(dice.randrange)
    new = [Use(Place(number, 16 * dice.randrange(10)), dice.randbytes(16)) for number in numbers]
    for start in range(0, MOST_PARTS, 512):
        use_all(db, uses, new[start : start + 512])
    assert not moved(db)
    use_all(db, uses, new[MOST_PARTS:])
    assert moved(db) == dict(new[:MOST_PARTS])


def test_places_say_nothing_about_when(db: sqlite3.Connection) -> None:
    dice, orders = random.Random(4), set()
    numbers, uses = sheets(db, 3, dice), RecentUses(dice.randrange)
    for _ in range(2):
        places = dice.sample([Place(number, 16 * at) for number in numbers for at in range(TICKETS)], 600)
        order = []
        for start in range(0, 600, 50):
            use_all(db, uses, [Use(place, dice.randbytes(16)) for place in places[start : start + 50]])
            found = pages(db)
            assert all(page == sorted(page) for page in found.values())
            order += [page for page in found if page not in order]
        assert len(order) == 4
        orders.add(tuple(order))
        uses.empty(db)
        db.execute("UPDATE sheet SET used = zeroblob(length(used))")
        uses.forget()
    assert len(orders) == 2
    assert not any(list(order) == sorted(order) for order in orders)


def test_a_sheet_that_is_gone_has_no_unused_tickets(db: sqlite3.Connection) -> None:
    dice = random.Random(5)
    (number,), uses = sheets(db, 1, dice), RecentUses(dice.randrange)
    use_all(db, uses, [Use(Place(number, 0), b"used for an ID..")])
    uses.leave(db, [number])
    assert moved(db) == {Place(number, 0): b"used for an ID.."}
    db.execute("DELETE FROM sheet")
    assert not uses.take(db, Place(number, 16))


def test_a_page_of_uses_is_a_page_of_the_file(db: sqlite3.Connection) -> None:
    """So that it is written over where it is, and one commit writes one of them."""
    (before,) = db.execute("PRAGMA page_count").fetchone()
    db.execute("INSERT INTO recent_use (page, body) SELECT 100 + page, zeroblob(3900) FROM recent_use")
    assert db.execute("PRAGMA page_count").fetchone()[0] - before == 32
