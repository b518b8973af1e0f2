"""Group `ack`: what is acknowledged is read, once and for all."""

import json
from typing import Any, Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.together import together
from inbox_server.conformance.vectors.recipes import loosen

GROUP: Final = Group("ack", "post-v1messagesack-acknowledge")
_REMEMBERED: Final = "the `id` of a read entry until the entry would have expired, and for at least an hour."


@GROUP.required("204: the entries are read.")
async def what_is_acknowledged_is_not_listed(bench: Bench, inbox: Inbox) -> None:
    """An acknowledgement is answered 204, and takes its entries, and no others, from the list."""
    ids = await inbox.received(*(bench.text() for _ in range(3)))
    (await inbox.ack(ids[0], ids[2])).expect(204)
    if (await inbox.page()).ids != [ids[1]]:
        raise Failed("the list does not have just the entry that was not acknowledged")


@GROUP.required("Repeating is no error, and neither is an unknown `id`")
async def repeating_is_no_error(bench: Bench, inbox: Inbox) -> None:
    """The same acknowledgement again is answered 204, and so is one of an unknown id, of one id twice, and of none."""
    (id,) = await inbox.received(bench.text())
    for ids in ((id,), (id,), (id, id), (id_of(bench.text()),), (id, id_of(bench.text())), ()):
        (await inbox.ack(*ids)).expect(204)
    if (await inbox.page()).messages:
        raise Failed("what was acknowledged is listed again")


@GROUP.required("Repeating is no error, and neither is an unknown `id`")
async def a_repeat_changes_nothing(bench: Bench, inbox: Inbox) -> None:
    """An acknowledgement again is no change: the counts stay, and a cursor from after the first one tells nothing."""
    (id,) = await inbox.received(bench.text())
    (await inbox.ack(id)).expect(204)
    after, read = await inbox.cursor(), (await inbox.get()).expect(200).number("read")
    (await inbox.ack(id)).expect(204)
    if (await inbox.get()).expect(200).number("read") != read:
        raise Failed("a second acknowledgement of an entry counts as another one")
    if not (await inbox.page(after=after)).is_empty:
        raise Failed("a second acknowledgement of an entry is told as a change")


@GROUP.required("so that an ack on one of several inboxes holds when the delivery reaches another one late")
async def an_unknown_id_is_remembered(bench: Bench, inbox: Inbox) -> None:
    """What is acknowledged before it arrives is answered as a new delivery when it arrives, and is not listed."""
    before, text = await inbox.cursor(), bench.text()
    (await inbox.ack(id_of(text))).expect(204)
    (await inbox.deliver(text)).expect(201, why="what was acknowledged before it arrived")
    (await inbox.deliver(text)).expect(200, why="a repeat of what was acknowledged before it arrived")
    news = [id for page in await inbox.pages(after=before) for id in page.ids]
    if (await inbox.page()).ids or news:
        raise Failed("what had been acknowledged is listed when it arrives late")


@GROUP.required(_REMEMBERED)
async def what_was_read_is_remembered_for_longer_than_it_lives(bench: Bench, inbox: Inbox) -> None:
    """A read entry's id is remembered after its life is over: a repeat then is not listed."""
    text, issued = bench.text(), bench.now() - 2
    await inbox.received(text, ttl=10, issued=issued)
    (await inbox.ack(id_of(text))).expect(204)
    await bench.until(issued + 13)
    (await inbox.deliver(text, ttl=3600)).expect(200, 201, why="a repeat of what was read, after its life")
    if (await inbox.page()).ids:
        raise Failed("what was read is listed again when it is repeated after its life")


@GROUP.required(_REMEMBERED, slow=True)
async def what_was_read_is_remembered_for_minutes(bench: Bench, inbox: Inbox) -> None:
    """A read entry's id, and an unknown one, are still remembered a minute and a half later."""
    known, unknown = bench.text(), bench.text()
    await inbox.received(known, ttl=10)
    (await inbox.ack(id_of(known), id_of(unknown))).expect(204)
    await bench.until(bench.now() + 90)
    for text in (known, unknown):
        (await inbox.deliver(text)).expect(200, 201)
    if (await inbox.page()).ids:
        raise Failed("what was read is listed again when it is repeated after a minute and a half")


@GROUP.required(
    'Send `{"ids": ["…"]}`, with at most 1,000 IDs as they are listed (32 bytes in base64url), with an `ack` token.'
)
async def at_most_a_thousand_ids(bench: Bench, inbox: Inbox) -> None:
    """1,000 ids are taken at once, and 1,001 are a `bad_request` that acknowledges none."""
    (id,) = await inbox.received(bench.text())
    ids = [id_of(bench.text(8)) for _ in range(999)]
    (await inbox.ack(id, *ids, id_of(bench.text()))).refused("bad_request", why="with 1,001 ids")
    if (await inbox.page()).ids != [id]:
        raise Failed("an acknowledgement that was refused took an entry away")
    (await inbox.ack(id, *ids)).expect(204, why="with 1,000 ids")
    if (await inbox.page()).ids:
        raise Failed("the first of 1,000 ids is still listed")


@GROUP.required(
    'Send `{"ids": ["…"]}`, with at most 1,000 IDs as they are listed (32 bytes in base64url), with an `ack` token.'
)
async def what_is_no_id_is_refused(bench: Bench, inbox: Inbox) -> None:
    """Ids that are none, and bodies without ids, are a `bad_request`."""
    good = id_of(bench.text())
    one: list[Any] = ["", "x", good[:-1], f"{good}A", f"{good}=", loosen(good), 1, None]
    wrong: list[Any] = [*([each] for each in one), good, None, {}]
    for ids in wrong:
        body = json.dumps({"ids": ids}).encode()
        reply = await inbox.ask("POST", "/v1/messages/ack", "ack", body)
        reply.refused("bad_request", why=f"with the ids {ids!r:.20}")
    (await inbox.ask("POST", "/v1/messages/ack", "ack", b"{}")).refused("bad_request", why="without ids")


@GROUP.required("204: the entries are read.")
async def the_counts_follow(bench: Bench, inbox: Inbox) -> None:
    """`GET /v1/inbox` counts what is unread, what was read, and the bytes that are used."""
    read = (await inbox.get()).expect(200).number("read")
    ids = await inbox.received(bench.text(), bench.text(), bench.text())
    for ack, unread in ((ids[:1], 2), (ids[1:], 0)):
        (await inbox.ack(*ack)).expect(204)
        read += len(ack)
        reply = (await inbox.get()).expect(200)
        counted = reply.number("unread"), reply.number("read")
        if counted != (unread, read) and read <= bench.limit("inbox_read_entries"):
            raise Failed(f"after {3 - unread} of 3 were acknowledged, the counts are {counted}, not {(unread, read)}")
    quota = reply.members.get("quota")
    if not isinstance(quota, dict) or quota.get("bytes_used") != 0:
        raise Failed("an inbox without anything unread uses bytes")


@GROUP.required("204: the entries are read.")
async def acks_at_once_all_hold(bench: Bench, inbox: Inbox) -> None:
    """Acknowledgements and deliveries at the same time all hold: nothing comes back, nothing is lost."""
    before = await inbox.cursor()
    ids = await inbox.received(*(bench.text() for _ in range(12)))
    texts = [bench.text() for _ in range(12)]
    acks = [inbox.ack(id) for id in ids]
    deliveries = [inbox.deliver(text) for text in texts]
    for reply in await together(*acks, *deliveries):
        reply.expect(201, 204)
    if sorted((await inbox.page()).ids) != sorted(map(id_of, texts)):
        raise Failed("the list does not have just what was delivered and not acknowledged")
    read = [id for page in await inbox.pages(after=before) for id in page.read or ()]
    if sorted(read) != sorted(ids):
        raise Failed("the ids that a cursor tells as read are not those that were acknowledged, each once")
