"""Group `list`: pages of the feed, their order, their cursors."""

from typing import Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.together import together

GROUP: Final = Group("list", "get-v1messages-list-or-follow")
_SENDERS: Final = 6
_ROUNDS: Final = 15


@GROUP.required("in the order of the changes.")
async def entries_are_in_the_order_of_the_changes(bench: Bench, inbox: Inbox) -> None:
    """Entries are listed in the order in which they were delivered, from the start and after a cursor."""
    before = await inbox.cursor()
    ids = await inbox.received(*(bench.text() for _ in range(6)))
    if (await inbox.page()).ids != ids or (await inbox.page(after=before)).ids != ids:
        raise Failed("entries are listed in another order than they were delivered in")


@GROUP.required("Without `after`, the answer has what is unread, from the start, and no member `read`.")
async def read_is_there_after_a_cursor_only(inbox: Inbox) -> None:
    """Without `after` a page has no `read`; with it, it has one, even an empty one."""
    page = await inbox.page()
    if page.read is not None:
        raise Failed("a list without `after` has a member `read`")
    if (await inbox.page(after=page.cursor)).read != ():
        raise Failed("a page after a cursor has no `read`, or ids in it that nobody acknowledged")


@GROUP.required("With `after`, it has what arrived since then, and `read` has what was read since then, on any device")
async def a_cursor_tells_what_arrived_and_what_was_read(bench: Bench, inbox: Inbox) -> None:
    """After a cursor come exactly the entries that arrived since, and the ids of those that were read since."""
    old = await inbox.received(bench.text(), bench.text())
    cursor = await inbox.cursor()
    new = await inbox.received(bench.text(), bench.text())
    (await inbox.ack(old[0], new[0])).expect(204)
    pages = await inbox.pages(after=cursor)
    messages = [id for page in pages for id in page.ids]
    read = [id for page in pages for id in page.read or ()]
    if messages != [new[1]]:
        raise Failed("after a cursor, another set of entries is listed than those that arrived since and are unread")
    if sorted(read) != sorted([old[0], new[0]]):
        raise Failed("after a cursor, `read` does not have just the ids that were acknowledged since")
    if not (await inbox.page(after=pages[-1].cursor)).is_empty:
        raise Failed("after the last cursor, something is told again")


@GROUP.required("Listing removes nothing.")
async def listing_removes_nothing(bench: Bench, inbox: Inbox) -> None:
    """A list again, and after the same cursor again, is the same."""
    before = await inbox.cursor()
    ids = await inbox.received(bench.text(), bench.text())
    for _ in range(2):
        if (await inbox.page()).ids != ids or (await inbox.page(after=before)).ids != ids:
            raise Failed("a second list is not what the first one was")


@GROUP.required("`more` says that another page is ready now.")
async def pages_join_without_a_gap(bench: Bench, inbox: Inbox) -> None:
    """Pages of one, two and three entries join to the whole list; `more` is true but for the last."""
    before = await inbox.cursor()
    ids = await inbox.received(*(bench.text() for _ in range(6)))
    for limit in (1, 2, 3):
        for query in ({}, {"after": before}):
            pages = await inbox.pages(limit=limit, **query)
            if [id for page in pages for id in page.ids] != ids:
                raise Failed(f"pages of {limit} do not join to the whole list")
            if max(len(page.ids) for page in pages) > limit:
                raise Failed(f"a page with the limit {limit} has more entries")
            if any(not page.ids for page in pages[:-1]):
                raise Failed("`more` was true, but the page before the last is empty")


@GROUP.required("The parameters are `limit` (1 to 1,000, default 100; it counts `messages` and `read` together)")
async def a_page_has_a_hundred_entries(bench: Bench, inbox: Inbox) -> None:
    """Without `limit` a page has 100 entries at most; with 1,000 it has more, and is whole."""
    texts = [bench.text() for _ in range(103)]
    for start in range(0, len(texts), 8):
        for reply in await together(*(inbox.deliver(text) for text in texts[start : start + 8])):
            reply.expect(201)
    first, whole = await inbox.page(), await inbox.page(limit=1000)
    if (len(first.ids), first.more) != (100, True):
        raise Failed(
            f"the first of 103 entries are {len(first.ids)} on a page, more: {first.more}; not 100, more: True"
        )
    if sorted(whole.ids) != sorted(map(id_of, texts)) or whole.more or whole.ids[:100] != first.ids:
        raise Failed("a page with the limit 1,000 does not have all of 103 entries, in the same order")


@GROUP.required("it counts `messages` and `read` together")
async def a_limit_counts_messages_and_read(bench: Bench, inbox: Inbox) -> None:
    """After a cursor no page has more than `limit` entries and read ids together, and all come once."""
    old = await inbox.received(*(bench.text() for _ in range(3)))
    cursor = await inbox.cursor()
    new = await inbox.received(*(bench.text() for _ in range(3)))
    (await inbox.ack(*old)).expect(204)
    pages = await inbox.pages(after=cursor, limit=2)
    if max(len(page.ids) + len(page.read or ()) for page in pages) > 2:
        raise Failed("a page with the limit 2 has more entries and read ids together")
    messages, read = [id for page in pages for id in page.ids], [id for page in pages for id in page.read or ()]
    if messages != new or sorted(read) != sorted(old):
        raise Failed("pages of 2 do not join to what arrived and what was read")


@GROUP.required("on the further pages of a list, what was read since its first page")
async def a_list_tells_what_was_read_during_it(bench: Bench, inbox: Inbox) -> None:
    """What is read on another device while a list is paged is in `read` of a further page, or not on any."""
    ids = await inbox.received(*(bench.text() for _ in range(5)))
    first = await inbox.page(limit=2)
    (await inbox.ack(ids[0], ids[3])).expect(204)
    pages = await inbox.pages(after=first.cursor, limit=2)
    known = set(first.ids) | {id for page in pages for id in page.ids}
    known -= {id for page in pages for id in page.read or ()}
    if known != {ids[1], ids[2], ids[4]}:
        raise Failed("a client that pages a list while another device reads has other entries than are unread")


@GROUP.required("`after` (a cursor) and `wait` (0 to 55 seconds).")
async def parameters_out_of_range_are_refused(inbox: Inbox) -> None:
    """A `limit` or a `wait` that is out of its range, or no number, is a `bad_request`."""
    for name, values in (("limit", ("0", "1001", "-1", "x", "", "1.5", "+1")), ("wait", ("56", "-1", "x", "", "1.5"))):
        for value in values:
            (await inbox.listed(**{name: value})).refused("bad_request", why=f"with {name}={value}")


@GROUP.required("`bad_cursor` is for a text that is no cursor, an empty one too.")
async def what_is_no_cursor_is_refused(inbox: Inbox) -> None:
    """What is no cursor is `bad_cursor`."""
    for cursor in ("x", "", "0", "null", "A" * 2000, "é"):
        (await inbox.listed(after=cursor)).refused("bad_cursor", why=f"after {cursor[:8]!r}")


@GROUP.required("the cursor is another inbox's")
async def a_cursor_of_another_inbox_is_refused(bench: Bench, one: Inbox, two: Inbox) -> None:
    """A cursor of another inbox is `cursor_gone`, so that no client goes on from a place that means nothing here."""
    await one.received(bench.text(), bench.text())
    await two.received(bench.text(), bench.text())
    for own, other in ((one, two), (two, one)):  # whichever of them has the higher numbers, if they are numbers
        for cursor in (await own.cursor(), (await own.page(limit=1)).cursor):
            (await other.listed(after=cursor)).refused("cursor_gone", why="after a cursor of another inbox")


@GROUP.required("Every delivery, every longer life of an unread entry and every first acknowledgement is a change")
async def a_longer_life_is_a_change(bench: Bench, inbox: Inbox) -> None:
    """An entry whose life became longer is told again after a cursor, with its new `expires`, and is the last."""
    texts = [bench.text(), bench.text()]
    first = (await inbox.deliver(texts[0], ttl=3600)).expect(201).number("expires")
    await inbox.received(texts[1], ttl=3600)
    cursor = await inbox.cursor()
    expires = (await inbox.deliver(texts[0], ttl=7200)).expect(200).number("expires")
    if expires == first:
        return  # a repeat may lengthen the life
    news = (await inbox.page(after=cursor)).messages
    if [(entry.id, entry.expires) for entry in news] != [(id_of(texts[0]), expires)]:
        raise Failed("a longer life is not told after a cursor from before it")
    if (await inbox.page()).ids != [id_of(texts[1]), id_of(texts[0])]:
        raise Failed("a longer life did not move its entry to the end of the list")


@GROUP.required("Expiry is not a change: a client drops what has expired.")
async def expiry_is_no_change(bench: Bench, inbox: Inbox) -> None:
    """When an entry expires, a cursor from before tells nothing."""
    issued = bench.now() - 2
    await inbox.received(bench.text(), ttl=10, issued=issued)
    cursor = await inbox.cursor()
    await bench.until(issued + 11)
    if not (await inbox.page(after=cursor)).is_empty:
        raise Failed("an entry that expired is told as a change")


@GROUP.required("With `after`, it has what arrived since then, and `read` has what was read since then, on any device")
async def a_cursor_never_skips_a_delivery(bench: Bench, inbox: Inbox) -> None:
    """A reader that goes from cursor to cursor while many deliver at once gets every entry."""
    cursor, texts, seen = await inbox.cursor(), [bench.text() for _ in range(_SENDERS * _ROUNDS)], set[str]()
    left = len(texts)

    async def deliver(own: list[str]) -> None:
        nonlocal left
        for text in own:
            (await inbox.deliver(text)).expect(201)
            left -= 1

    async def follow() -> None:
        nonlocal cursor
        while True:
            over = not left
            page = await inbox.page(after=cursor)
            seen.update(page.ids)
            cursor = page.cursor
            if over and page.is_empty:
                return

    await together(follow(), *(deliver(texts[number::_SENDERS]) for number in range(_SENDERS)))
    missed = {id_of(text) for text in texts} - seen
    if missed:
        raise Failed(f"{len(missed)} of {len(texts)} deliveries were never told to a reader that followed by cursors")


@GROUP.required("No inbox has been claimed with this key", section="refusals")
async def without_an_inbox(bench: Bench) -> None:
    """Without an inbox, everything that an owner asks for is `no_inbox`."""
    nobody = Inbox(bench, bench.somebody())
    (await nobody.listed()).refused("no_inbox")
    (await nobody.get()).refused("no_inbox")
    (await nobody.ack(id_of(bench.text()))).refused("no_inbox")
