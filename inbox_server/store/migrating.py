"""Moving everything from one database to another, of the same kind or not, while no server uses either.

Inbox by inbox, in the order of their keys; each is in the target as a whole or not at all. So the target itself says
how far it is, and a migration that was killed goes on where it stopped. At the end both are read back and compared.

Change numbers, cursors' horizons, tombstones and generations are moved as they are: nothing is lost on the way, and
every number that the target gives out later is larger, so a cursor of before is as good as it was. What would make
two answers out of one cursor is a source that goes on: both would give out the same numbers for different things. So
the source is marked first, in a way that keeps servers out of it, and stays so. Whoever takes it back into use all the
same (`reopen`) gives its inboxes new generations, as a restored copy has them.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from inbox_server.store.contract import BadDatabase
from inbox_server.store.whole_inbox import Rest, Tally, WholeInbox

AGAIN = "Run the same command again: it continues where it stopped."


@dataclass(frozen=True, slots=True)
class Mark:
    """What a database says of a migration; `id`, 16 random bytes, is the same in both.

    `source`: it is being copied, and must not change. `left`: it was copied away. `target`: it is not whole yet.
    `whole`: it is, and a server may use it.
    """

    id: bytes
    state: Literal["source", "left", "target", "whole"]


class Database(Protocol):
    """A database of either kind, opened for a migration. All may raise `BadDatabase`."""

    place: str
    """Where it is, for a person to read."""

    async def mark(self) -> Mark | None: ...

    async def set_mark(self, mark: Mark | None) -> None: ...

    async def check_unused(self) -> None:
        """Raises `BadDatabase` when a server has it open."""

    async def holdings(self) -> int:
        """How many inboxes, invites and suspensions there are."""

    async def secret_check(self) -> tuple[bytes, ...]: ...

    async def set_secret_check(self, values: tuple[bytes, ...]) -> None: ...

    async def last_inbox(self) -> bytes:
        """The greatest key of an inbox; empty when there is none."""

    async def next_batch(self, after: bytes) -> bytes | None:
        """The last of the inboxes behind `after` that are best moved together; None when there is none."""

    async def read(self, after: bytes, last: bytes) -> Sequence[WholeInbox]:
        """The inboxes behind `after` up to `last`, in the order of their keys."""

    async def write(self, inboxes: Sequence[WholeInbox]) -> None:
        """Add inboxes, all or none of them."""

    async def read_rest(self) -> Rest: ...

    async def write_rest(self, rest: Rest) -> None: ...

    async def count_inboxes(self) -> int: ...

    async def renew_generations(self, random_bytes: Callable[[int], bytes], day: int) -> None:
        """Give all inboxes new generations, and let their logs say on which UTC day that was."""


Progress = Callable[[str, int, int, int], None]
"""Called with what is done ("copied" or "compared"), how many inboxes and entries so far, and of how many inboxes; and
first with those that are "found" in the target."""


def refuse_partial(mark: Mark | None, place: str) -> None:
    """Raises `BadDatabase` for the target of a migration that is not finished."""
    if mark and mark.state == "target":
        refuse_marked(mark, place)


def refuse_marked(mark: Mark | None, place: str) -> None:
    """Keep a server out of a database that is part of a migration, or was. Raises `BadDatabase`."""
    if why := why_not_served(mark, place):
        raise BadDatabase(why)


def why_not_served(mark: Mark | None, place: str) -> str | None:
    """Why no server may use a database that has this mark, and what to do."""
    if mark is None or mark.state == "whole":
        return None
    if mark.state == "target":
        return f"{place} is not whole: `inbox-server migrate-store` began to copy a server into it. {AGAIN}"
    what = "is being copied" if mark.state == "source" else "was copied"
    return (
        f"{place} {what} to another database by `inbox-server migrate-store`, and nothing may change here any more."
        " Name the other one in store.url. To use this one again anyway: `inbox-server migrate-store --reopen`,"
        " see docs/postgresql.md, Moving to it and back."
    )


async def migrate(source: Database, target: Database, *, new_id: bytes, progress: Progress) -> Tally | None:
    """Copy everything, compare it, and keep servers out of the source from now on. Returns what there is.

    It may be killed at any moment and called again; None when it was finished before. Raises `BadDatabase`.
    """
    ours, theirs = await source.mark(), await target.mark()
    if ours and ours.state == "target":
        raise BadDatabase(f"{source.place} is not whole itself: finish the migration into it first.")
    if ours and ours.state == "left" and theirs == Mark(ours.id, "whole"):
        return None
    id = await _begin(source, target, new_id)
    await _copy(source, target, progress)
    tally = await _compare(source, target, progress)
    # In this order: once servers may use the target, they may never more use the source.
    await source.check_unused()
    await source.set_mark(Mark(id, "left"))
    await target.set_mark(Mark(id, "whole"))
    return tally


async def _begin(source: Database, target: Database, new_id: bytes) -> bytes:
    """The ID of the migration: of one that is not finished, or the new one."""
    ours, theirs = await source.mark(), await target.mark()
    if theirs is None or theirs.state != "target":
        await _begin_anew(source, target, ours, new_id)
        return new_id
    if ours is None or ours.id != theirs.id:
        raise BadDatabase(
            f"{target.place} holds the beginning of another migration, not of one from {source.place}. It was left as"
            " it is. Empty it, or name another one."
        )
    if await source.secret_check() != await target.secret_check():
        raise BadDatabase(
            f"{source.place} was put under a new secret since the migration began. Empty {target.place}, and run this"
            " again."
        )
    await _check_unused(source, target)
    return ours.id


async def _check_unused(*databases: Database) -> None:
    for database in databases:
        await database.check_unused()


async def _begin_anew(source: Database, target: Database, ours: Mark | None, new_id: bytes) -> None:
    if ours and ours.state == "left":
        refuse_marked(ours, source.place)
    if count := await target.holdings():
        raise BadDatabase(
            f"{target.place} is not empty: it has {count} inboxes, invites or suspensions. It was left as it is."
            " Empty it, or name another one."
        )
    await _check_unused(source, target)  # or a server that runs would refuse everybody until the marks are gone again
    async with _marked(source, Mark(new_id, "source"), before=ours), _marked(target, Mark(new_id, "target")):
        # A server that starts from now on sees the mark; one that started before is seen here.
        await _check_unused(source, target)
        await target.set_secret_check(await source.secret_check())


@contextlib.asynccontextmanager
async def _marked(database: Database, mark: Mark, before: Mark | None = None) -> AsyncIterator[None]:
    """Mark it; it has the mark of before again when what follows is refused."""
    await database.set_mark(mark)
    try:
        yield
    except BadDatabase:
        with contextlib.suppress(BadDatabase):
            await database.set_mark(before)
        raise


async def _copy(source: Database, target: Database, progress: Progress) -> None:
    all, done, entries = await source.count_inboxes(), await target.count_inboxes(), 0
    at = await target.last_inbox()
    if done:
        progress("found", done, 0, all)
    while (last := await source.next_batch(at)) is not None:
        inboxes = await source.read(at, last)
        await target.write(inboxes)
        at, done, entries = last, done + len(inboxes), entries + sum(len(each.entries) for each in inboxes)
        progress("copied", done, entries, all)
    await target.write_rest(await source.read_rest())


async def _compare(source: Database, target: Database, progress: Progress) -> Tally:
    """Read both, and raise `BadDatabase` unless they hold the same."""
    all, theirs, ours, at = await source.count_inboxes(), Tally(), Tally(), b""
    while (last := await source.next_batch(at)) is not None:
        for there, here in ((source, theirs), (target, ours)):
            for each in await there.read(at, last):
                here.add(each)
        _check_same(theirs, ours, source, target)
        progress("compared", theirs.counts["inboxes"], theirs.counts["unread"] + theirs.counts["read"], all)
        at = last
    theirs.add_rest(await source.read_rest())
    ours.add_rest(await target.read_rest())
    _check_same(theirs, ours, source, target)
    if await target.next_batch(at) is not None:
        raise _different(source, target, "has more inboxes")
    return ours


def _check_same(theirs: Tally, ours: Tally, source: Database, target: Database) -> None:
    if ours.digest() != theirs.digest():
        what = sorted(name for name in theirs.counts | ours.counts if theirs.counts[name] != ours.counts[name])
        raise _different(source, target, f"has other counts of {', '.join(what)}" if what else "has other values")


def _different(source: Database, target: Database, how: str) -> BadDatabase:
    return BadDatabase(
        f"The copy is not the same: {target.place} {how} than {source.place}. No server can use it. Empty it, and run"
        " this again; if the same happens, please report it."
    )


async def reopen(database: Database, *, random_bytes: Callable[[int], bytes], day: int) -> bool:
    """Let servers use a source again; returns whether its inboxes have new generations. Raises `BadDatabase`.

    Clients may have been at the other database since, if all was copied: so they must list everything again.
    """
    mark = await database.mark()
    if mark is None or mark.state == "whole":
        raise BadDatabase(f"{database.place} can be used as it is: nothing was copied out of it.")
    if mark.state == "target":
        raise BadDatabase(f"{database.place} is not whole, and cannot be used. Empty it, or finish the migration.")
    await database.check_unused()
    if mark.state == "left":
        await database.renew_generations(random_bytes, day)
    await database.set_mark(None)
    return mark.state == "left"
