"""Sealed delivery in tests: an owner's sheets, the tickets of a contact, and deliveries with them."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from inbox_server.client.appkey import AppKey
from inbox_server.client.tickets import PER, Sheet, ids_of, seed_of, ticket_of, week_of
from inbox_server.protocol.base64url import encode
from tests.support.requests import Answer, Bend, Caller


def sheet_at(owner: Caller, *, weeks: int = 0, edition: int = 1) -> Sheet:
    """The owner's sheet of this week, or of one so many weeks later."""
    return Sheet(owner.url, week_of(owner.clock()) + weeks, edition)


def sheet_body(owner: Caller, contacts: Collection[AppKey], sheet: Sheet | None = None, per: int = PER) -> bytes:
    sheet = sheet or sheet_at(owner)
    ids = ids_of(owner.key, [each.public for each in contacts], sheet, per)
    return json.dumps({"week": sheet.week, "ids": encode(ids)}).encode()


async def put_body(owner: Caller, body: bytes, bend: Bend | None = None) -> Answer:
    token = owner.owner_token("settings", body, bend)
    return await owner.send("PUT", "/v1/inbox/tickets", body, token=token)


async def give_tickets(owner: Caller, *contacts: AppKey, sheet: Sheet | None = None) -> None:
    """Send the sheet of this week, or another."""
    assert (await put_body(owner, sheet_body(owner, contacts, sheet))).status == 204


@dataclass(frozen=True, slots=True)
class Contact:
    """A key that has tickets for the inbox of `owner`."""

    key: AppKey
    owner: Caller

    def ticket(self, number: int = 0, sheet: Sheet | None = None) -> bytes:
        shared = self.key.shared_x(bytes.fromhex(self.owner.key.public))
        sheet = sheet or sheet_at(self.owner)
        return ticket_of(seed_of(shared, sender=self.key.public, recipient=self.owner.key.public, sheet=sheet), number)

    async def deliver(
        self, text: str = "opaque", number: int = 0, *, sheet: Sheet | None = None, **more: Any
    ) -> Answer:
        """With the ticket of this number; `more` are members of the body."""
        return await deliver_sealed(self.owner, self.ticket(number, sheet), message_id=text, **more)


async def deliver_sealed(owner: Caller, ticket: bytes, **members: Any) -> Answer:
    """To the owner's address, unless `to` is another."""
    body = json.dumps({"to": owner.key.address, **members}).encode()
    headers = {"Authorization": f"InboxTicket {encode(ticket)}"}
    return await owner.send("POST", "/v1/messages", body, headers=headers)
