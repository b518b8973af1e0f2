"""Group `deliver`: what a delivery stores, how long it lives, and that repeating it is safe."""

from typing import Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox

GROUP: Final = Group("deliver", "post-v1messages-deliver")


@GROUP.required('201 `{"id", "expires"}`: the delivery is on disk, in this recipient\'s inbox.')
async def a_delivery_is_listed(bench: Bench, inbox: Inbox) -> None:
    """A delivery is answered 201, and is in the recipient's list at once, unchanged."""
    text = bench.text()
    reply = (await inbox.deliver(text)).expect(201)
    page = await inbox.page()
    if [entry.message_id for entry in page.messages] != [text]:
        raise Failed(f"{len(page.messages)} entries are listed, not the one that was delivered as it was")
    if page.messages[0].expires != reply.number("expires"):
        raise Failed("the list tells another `expires` than the answer to the delivery")


@GROUP.required("`id` is base64url(SHA-256(message_id)), and is the same on every server.")
async def the_id_is_the_hash(bench: Bench, inbox: Inbox) -> None:
    """The `id` of an entry is base64url(SHA-256(message_id))."""
    text = bench.text()
    reply = (await inbox.deliver(text)).expect(201)
    if reply.text("id") != id_of(text) or (await inbox.page()).ids != [id_of(text)]:
        raise Failed("the id is not the hash of the message ID")


@GROUP.required("the answer is 200 with the same `id`")
async def a_repeat_makes_no_second_entry(bench: Bench, inbox: Inbox) -> None:
    """The same message ID again is answered 200 with the same `id`, and is listed once."""
    text, sender = bench.text(), bench.somebody()
    (await inbox.deliver(text, sender=sender)).expect(201)
    for again in (sender, bench.somebody()):
        if (await inbox.deliver(text, sender=again)).expect(200, why="a repeat").text("id") != id_of(text):
            raise Failed("a repeat is answered with another id")
    if (await inbox.page()).ids != [id_of(text)]:
        raise Failed("a repeat made another entry")
