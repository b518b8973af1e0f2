"""Group `ack`: what is acknowledged is read, once and for all."""

from typing import Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox

GROUP: Final = Group("ack", "post-v1messagesack-acknowledge")


@GROUP.required("204: the entries are read.")
async def what_is_acknowledged_is_not_listed(bench: Bench, inbox: Inbox) -> None:
    """An acknowledgement is answered 204, and takes its entries, and no others, from the list."""
    ids = await inbox.received(*(bench.text() for _ in range(3)))
    (await inbox.ack(ids[0], ids[2])).expect(204)
    if (await inbox.page()).ids != [ids[1]]:
        raise Failed("the list does not have just the entry that was not acknowledged")


@GROUP.required("Repeating is no error, and neither is an unknown `id`")
async def repeating_is_no_error(bench: Bench, inbox: Inbox) -> None:
    """The same acknowledgement again is answered 204, and so is one of an unknown id."""
    (id,) = await inbox.received(bench.text())
    for ids in ((id,), (id,), (id, id), (id_of(bench.text()),), ()):
        (await inbox.ack(*ids)).expect(204)
    if (await inbox.page()).messages:
        raise Failed("it is listed again")
