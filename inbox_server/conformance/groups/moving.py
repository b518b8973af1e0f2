"""Group `moving`: what an app that moves an inbox needs of the old server and of the new one."""

from typing import Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.together import together

GROUP: Final = Group("moving", "moving-an-inbox")


@GROUP.required('`PUT /v1/inbox` with `{"accept": "nobody"}`. The owner\'s key may still deliver.')
async def a_closed_inbox_can_be_emptied(bench: Bench, inbox: Inbox) -> None:
    """A closed inbox takes nobody's deliveries, is still listed and acknowledged, and its cursors still work."""
    ids = await inbox.received(*(bench.text() for _ in range(4)))
    cursor = await inbox.cursor()
    await inbox.set(accept="nobody")
    (await inbox.deliver(bench.text())).refused("not_accepted", why="to a closed inbox")
    pages = await inbox.pages(limit=2)
    if [id for page in pages for id in page.ids] != ids:
        raise Failed("a closed inbox does not list what it had, page by page")
    (await inbox.ack(ids[0])).expect(204)
    if (await inbox.page(after=cursor)).read != (ids[0],):
        raise Failed("a cursor from before the inbox was closed does not tell what was read since")


@GROUP.required("with the owner's key (as a key, not as a name) as sender and as recipient")
async def entries_can_be_carried_over(bench: Bench, inbox: Inbox) -> None:
    """The owner carries entries over as its own deliveries: unchanged, with the rest of their life, again and again."""
    texts, owner = [bench.text() for _ in range(5)], bench.by_key(inbox.owner)
    await inbox.set(accept="names")
    for status in (201, 200):
        for text in texts:
            reply = await inbox.deliver(text, sender=owner, ttl=1800)
            reply.expect(status, why="by the owner, carrying over")
    page = await inbox.page()
    if sorted(entry.message_id for entry in page.messages) != sorted(texts):
        raise Failed("what was carried over twice is not there once, unchanged")
    if max(entry.expires for entry in page.messages) > bench.now() + 1800 + 2:
        raise Failed("what was carried over lives longer than it was given")


@GROUP.required("then acknowledge what is in `read`: then a late repeat stays read.")
async def what_was_read_stays_read_at_the_new_place(bench: Bench, inbox: Inbox) -> None:
    """Ids that were read at the old server are acknowledged here before, while and after their deliveries come late."""
    texts = [bench.text() for _ in range(6)]
    ids = [id_of(text) for text in texts]
    (await inbox.ack(*ids[:3])).expect(204)
    await together(*(inbox.deliver(text) for text in texts), inbox.ack(*ids[3:]))
    await together(*(inbox.deliver(text) for text in texts))
    if (await inbox.page()).ids:
        raise Failed("what was read at the old server is listed at the new one after late repeats")
