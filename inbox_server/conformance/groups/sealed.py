"""Group `sealed`: sheets of tickets, and deliveries with a ticket, which say nothing of who sends them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox_server.client.tickets import LEAST_IDS, WEEK_SECONDS, id_of
from inbox_server.conformance.bench import Bench
from inbox_server.conformance.bench import id_of as entry_id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.groups.order import seen
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from inbox_server.protocol.base64url import encode

GROUP: Final = Group("sealed", "post-v1messages-with-a-ticket-deliver-sealed")
_SHEETS: Final = "put-v1inboxtickets-let-contacts-deliver-without-a-name"
_ORDER: Final = "the-order-of-a-delivery"
_FEATURE: Final = "sealed"
_PATH: Final = "/v1/inbox/tickets"


@dataclass(frozen=True, slots=True)
class _Tickets:
    """An inbox and the tickets of a sheet that it was given."""

    inbox: Inbox
    tickets: Sequence[bytes]

    async def deliver(self, text: str, number: int = 0, **more: Any) -> Reply:
        return await _deliver(self.inbox, self.tickets[number], {"message_id": text, **more})


async def _deliver(inbox: Inbox, ticket: bytes, members: dict[str, Any]) -> Reply:
    body = json.dumps({"to": inbox.address} | members).encode()
    headers = {"Authorization": f"InboxTicket {encode(ticket)}"}
    return await inbox.bench.send("POST", "/v1/messages", body=body, headers=headers)


def _week(bench: Bench) -> int:
    return bench.now() // WEEK_SECONDS


def _ids(tickets: Sequence[bytes]) -> list[bytes]:
    return sorted(map(id_of, tickets))


async def _put(inbox: Inbox, week: Any, ids: Any) -> Reply:
    members = {"week": week, "ids": encode(b"".join(ids)) if isinstance(ids, list) else ids}
    return await inbox.ask("PUT", _PATH, "settings", json.dumps(members).encode())


async def _given(bench: Bench, inbox: Inbox, *, weeks: int = 0) -> _Tickets:
    """The inbox gets a sheet of this week, or a later one, whose tickets are all good."""
    tickets = [bench.random_bytes(32) for _ in range(LEAST_IDS)]
    (await _put(inbox, _week(bench) + weeks, _ids(tickets))).expect(204, why="with a sheet")
    return _Tickets(inbox, tickets)


@GROUP.required("Each ticket is then good for one delivery in its week.", section=_SHEETS, feature=_FEATURE)
async def a_ticket_delivers(bench: Bench, inbox: Inbox) -> None:
    """A delivery with a ticket is stored as one with a token is, and listed unchanged."""
    given, text = await _given(bench, inbox), bench.text()
    reply = (await given.deliver(text, ttl=3600)).expect(201, why="with a ticket")
    page = await inbox.page()
    if reply.text("id") != entry_id_of(text) or [entry.message_id for entry in page.messages] != [text]:
        raise Failed("what was delivered with a ticket is not listed as it was")
    if abs(reply.number("expires") - bench.now() - 3600) > 30:
        raise Failed("`expires` does not count from the delivery")


@GROUP.required("A ticket is good for one `message_id`.", feature=_FEATURE)
async def a_ticket_is_for_one_message_id(bench: Bench, inbox: Inbox) -> None:
    """The same again is a repeat; another `message_id` is `ticket_spent` and not stored; the next ticket takes it."""
    given, one, other = await _given(bench, inbox), bench.text(), bench.text()
    (await given.deliver(one)).expect(201)
    (await given.deliver(one)).expect(200, why="a repeat with the same ticket")
    (await given.deliver(other)).refused("ticket_spent", why="another message ID with a ticket that was used")
    if (await inbox.page()).ids != [entry_id_of(one)]:
        raise Failed("what was refused is listed")
    (await given.deliver(other, 1)).expect(201, why="with the next ticket")


@GROUP.required("`message_id` with another unused ticket is a repeat too, and uses that ticket up.", feature=_FEATURE)
async def a_repeat_uses_its_ticket_up(bench: Bench, inbox: Inbox) -> None:
    """The same `message_id` with a second ticket makes no second entry, and that ticket is used then."""
    given, text = await _given(bench, inbox), bench.text()
    (await given.deliver(text, 0)).expect(201)
    (await given.deliver(text, 1)).expect(200, why="the same message ID with another ticket")
    (await given.deliver(bench.text(), 1)).refused("ticket_spent", why="with the ticket of the repeat")
    if (await inbox.page()).ids != [entry_id_of(text)]:
        raise Failed("a repeat made another entry")


@GROUP.required("Any other refusal leaves the ticket unused.", feature=_FEATURE)
async def a_refusal_leaves_the_ticket(bench: Bench, inbox: Inbox) -> None:
    """A ticket that came with a bad body is still good."""
    given = await _given(bench, inbox)
    (await given.deliver("")).refused("bad_request", member="message_id")
    (await given.deliver(bench.text(), ttl=9)).refused("bad_request", member="ttl")
    (await given.deliver(bench.text(), to=inbox.owner.key.public)).refused("bad_request", member="to")
    (await given.deliver(bench.text(), sender="alice.id")).refused("bad_request")
    (await given.deliver(bench.text())).expect(201, why="with the ticket of deliveries that were refused")


@GROUP.required(
    "A ticket that is not on the sheet of this week, of whatever inbox, server or week it is, is `not_accepted`",
    feature=_FEATURE,
)
async def any_other_ticket_is_not_accepted(bench: Bench, inbox: Inbox, other: Inbox) -> None:
    """A ticket of nobody's, of another inbox or of next week is `not_accepted`, byte for byte as a token is."""
    given, elsewhere = await _given(bench, inbox), await _given(bench, other)
    later = await _given(bench, inbox, weeks=1)
    first = seen((await bench.deliver(bench.key().address, bench.text())).refused("not_accepted", why="by a token"))
    for what, reply in {
        "a ticket of nobody's": await _deliver(inbox, bench.random_bytes(32), {"message_id": bench.text()}),
        "a ticket of another inbox": await _deliver(inbox, elsewhere.tickets[0], {"message_id": bench.text()}),
        "a ticket of next week": await later.deliver(bench.text()),
        "a ticket and no inbox": await given.deliver(bench.text(), to=bench.key().address),
    }.items():
        if seen(reply.refused("not_accepted", why=f"with {what}")) != first:
            raise Failed(f"the refusal of {what} is not the same, byte for byte, as that of a token")


@GROUP.required(
    "The owner's lists are not asked, and `accept` only when it is `nobody`, which refuses.", feature=_FEATURE
)
async def the_ticket_is_all_that_decides(bench: Bench, inbox: Inbox) -> None:
    """Where only contacts may deliver and none is listed, a ticket does; where nobody may, it does not."""
    given = await _given(bench, inbox)
    await inbox.set(accept="contacts")
    (await given.deliver(bench.text())).expect(201, why="with a ticket, where contacts may deliver")
    await inbox.set(accept="nobody")
    (await given.deliver(bench.text(), 1)).refused("not_accepted", why="with a ticket, where nobody may deliver")


@GROUP.required("and 1,024, 2,048 or 4,096 of them.", section=_SHEETS, feature=_FEATURE)
async def a_sheet_has_one_form(bench: Bench, inbox: Inbox) -> None:
    """A sheet of another size, unsorted, with an id twice, or for another week is a `bad_request` that names it."""
    week, ids = _week(bench), _ids([bench.random_bytes(32) for _ in range(LEAST_IDS)])
    for what, bad in {
        "1,023 ids": ids[1:],
        "1,025 ids": sorted([*ids, bench.random_bytes(16)]),
        "ids in another order": ids[::-1],
        "an id twice": sorted([*ids[1:], ids[1]]),
        "no base64url": "+" * 21_846,
        "no text": 7,
    }.items():
        (await _put(inbox, week, bad)).refused("bad_request", member="ids", why=f"with {what}")
    for wrong in (week - 2, week + 6, str(week), None):
        (await _put(inbox, wrong, ids)).refused("bad_request", member="week", why=f"for the week {wrong!r}")


@GROUP.required(
    "Ids that were used already stay used, also if they are not on the new sheet", section=_SHEETS, feature=_FEATURE
)
async def a_new_sheet_takes_the_place_of_the_old(bench: Bench, inbox: Inbox) -> None:
    """After another sheet, unused tickets of the old one are `not_accepted`, and used ones still get their answers."""
    old, text = await _given(bench, inbox), bench.text()
    (await old.deliver(text)).expect(201)
    new = await _given(bench, inbox)
    (await old.deliver(text)).expect(200, why="a repeat after another sheet")
    (await old.deliver(bench.text())).refused("ticket_spent", why="with a used ticket after another sheet")
    (await old.deliver(bench.text(), 1)).refused("not_accepted", why="with an unused ticket of the old sheet")
    (await new.deliver(bench.text())).expect(201, why="with a ticket of the new sheet")


@GROUP.required(
    "`GET /v1/inbox` also has `tickets`, an array with the weeks that have a sheet.", section=_SHEETS, feature=_FEATURE
)
async def weeks_with_sheets_are_told(bench: Bench, inbox: Inbox) -> None:
    """`tickets` lists this week and the next four once they have a sheet."""
    for weeks in range(5):
        await _given(bench, inbox, weeks=weeks)
    told = (await inbox.get()).expect(200).members.get("tickets")
    if not isinstance(told, list) or any(_week(bench) + weeks not in told for weeks in range(5)):
        raise Failed("`tickets` does not list the weeks that have a sheet")


@GROUP.required("the inbox, `accept` and the ticket, all in one look;", section=_ORDER, feature=_FEATURE)
async def what_is_no_ticket_says_so(bench: Bench, inbox: Inbox) -> None:
    """A ticket of another length is `bad_token`; a ticket opens nothing else, and a token takes no `to`."""
    for ticket in (b"", bench.random_bytes(31), bench.random_bytes(33)):
        (await _deliver(inbox, ticket, {"message_id": bench.text()})).refused("bad_token", member="Authorization")
    headers = {"Authorization": f"InboxTicket {encode(bench.random_bytes(32))}"}
    (await bench.send("GET", "/v1/messages", headers=headers)).refused("bad_token", member="Authorization")
