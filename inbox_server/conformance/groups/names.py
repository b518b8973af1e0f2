"""Group `names`: senders, recipients and owners with names. It needs names of the tester's own."""

import json
from typing import Final

from inbox_server.conformance.bench import ABSENT, Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.inboxes import Inbox

GROUP: Final = Group("names", "who-is-who")
_CLAIM: Final = "put-v1inbox-claim-and-change-settings"
_TOKENS: Final = "tokens"


def _sender(bench: Bench, inbox: Inbox) -> Identity:
    """An identity with a name that is not the inbox's owner."""
    return next(identity for identity in bench.names if identity.key.public != inbox.owner.key.public)


@GROUP.required("A sender is a name or a key.", senders=1)
async def a_name_may_deliver(bench: Bench, inbox: Inbox) -> None:
    """A sender with a name delivers, also where only names may; the token's `key` is the one that its name leads to."""
    sender = _sender(bench, inbox)
    for accept in ("anyone", "names"):
        await inbox.set(accept=accept)
        (await inbox.deliver(bench.text(), sender=sender)).expect(201, why=f"by a name, while `accept` is {accept}")


@GROUP.required("it SHOULD be there; without it the server must ask the bucket", section=_TOKENS, senders=1)
async def a_token_without_a_key_is_looked_up(bench: Bench, inbox: Inbox) -> None:
    """A named sender's token without `key` is taken if the key in the bucket signed it, and refused if another did."""
    sender = _sender(bench, inbox)
    (await inbox.deliver(bench.text(), sender=sender, key=ABSENT)).expect(201, why="by a name, without `key`")
    forged = Identity(bench.key(), sender.app, sender.name)
    reply = await inbox.deliver(bench.text(), sender=forged, key=ABSENT, patient=False)
    reply.refused("bad_token", "name_unproven", why="by a name, signed by another key than its own")


@GROUP.required("A key belongs to the name only if it hashes to that address.", senders=1)
async def a_name_with_another_key_is_unproven(bench: Bench, inbox: Inbox) -> None:
    """A name with a key that it does not lead to is `name_unproven`, though that key signed; nothing is stored."""
    sender = _sender(bench, inbox)
    forged = Identity(bench.key(), sender.app, sender.name)
    reply = await inbox.deliver(bench.text(), sender=forged, patient=False)
    reply.refused("name_unproven", "names_unavailable", why="by a name with another key")
    if (await inbox.page()).ids:
        raise Failed("a delivery that was refused is listed")


@GROUP.required("at most 5 names of the owner, so that deliveries may use them", section=_CLAIM, named=True)
async def a_name_may_receive(bench: Bench, inbox: Inbox) -> None:
    """A delivery to a name reaches the inbox that proved it, and none once the name was taken off."""
    name = str(inbox.owner.name)
    text = bench.text()
    (await bench.deliver(name, text)).expect(201, why="to a name")
    if (await inbox.page()).ids != [id_of(text)]:
        raise Failed("a delivery to a name is not in the inbox that proved it")
    if (await inbox.set(names=[])).number("names") != 0:
        raise Failed("an empty list does not take the name off")
    (await bench.deliver(name, bench.text())).refused("not_accepted", why="to a name that was taken off")
    if (await inbox.set(names=[name])).number("names") != 1:
        raise Failed("`names` is not 1 with one name")
    (await bench.deliver(name, bench.text())).expect(201, why="to a name that was proved again")


@GROUP.required("each must lead to the signing key for this `app`", section=_CLAIM, senders=1)
async def a_name_of_somebody_else_is_unproven(bench: Bench, inbox: Inbox) -> None:
    """An owner cannot put a name on the inbox that leads to another key: `name_unproven`, and nothing changes."""
    name = str(_sender(bench, inbox).name)
    before = (await inbox.get()).expect(200).members
    reply = await inbox.put({"names": [name], "accept": "nobody"}, patient=False)
    reply.refused("name_unproven", "names_unavailable", why="with somebody else's name")
    if (await inbox.get()).expect(200).members != before:
        raise Failed("a change that was refused changed something")


@GROUP.required("addresses (of the keys that sign) that may deliver", section=_CLAIM, senders=1)
async def lists_are_of_the_keys_behind_names(bench: Bench, inbox: Inbox) -> None:
    """The lists of contacts and of who is blocked hold for a named sender by the address of its key."""
    sender = _sender(bench, inbox)
    await inbox.set(accept="contacts", contacts=[sender.key.address])
    (await inbox.deliver(bench.text(), sender=sender)).expect(201, why="by a contact with a name")
    await inbox.set(accept="names", blocked=[sender.key.address])
    (await inbox.deliver(bench.text(), sender=sender)).refused("not_accepted", why="by a blocked sender with a name")
    (await inbox.deliver(bench.text(), sender=bench.by_key(sender))).refused("not_accepted", why="as a bare key")


@GROUP.required("The server follows a name through a chain", senders=1, named=True)
async def a_name_writes_to_a_name(bench: Bench, inbox: Inbox) -> None:
    """A named sender delivers to a named recipient; for another app the names do not hold."""
    sender, body = _sender(bench, inbox), json.dumps({"message_id": bench.text()}).encode()
    token = bench.deliver_token(sender, str(inbox.owner.name), body)
    (await bench.send("POST", "/v1/messages", token=token, body=body)).expect(201, why="from a name to a name")
    other = bench.deliver_token(sender, str(inbox.owner.name), body, app="https://other.example")
    (await bench.send("POST", "/v1/messages", token=other, body=body)).refused("not_accepted", why="for another app")
