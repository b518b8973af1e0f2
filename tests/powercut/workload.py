"""A recorded workload: clients who note what they asked and what was answered, against a real server under strace.

Each client asks one thing after the other, from a loopback address of its own. So its answers in the trace are its
requests in their order, and the trace says at which step each was sent.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.tickets import id_of as id_of_ticket
from inbox_server.client.tickets import week_of
from inbox_server.clock import system_clock
from inbox_server.protocol.base64url import encode
from tests.faults.clients import QuickKey
from tests.support.push_services import Browser
from tests.support.requests import Answer, Caller, id_of
from tests.support.sealed import deliver_sealed, put_body

BOXES: Final = 2
SENDERS: Final = 4
DEVICES: Final = 2  # of each box
FLEETING, ALONE = "fleeting", "alone"
TICKETS: Final = 1024
_SEALED: Final = 0.4  # of the texts are delivered with a ticket
_DELIVERIES: Final = 25  # by each sender in each life of the server
_CHANGES: Final = 50  # of the settings, by the owner who is alone
_BRIEF: Final = 4  # deliveries that soon expire
_TTL_SECONDS: Final = 10  # the least that the protocol allows …
_AGO_SECONDS: Final = 8  # … by a token that was signed so long ago
_MOST_TEXT: Final = 900
_MOST_ACK: Final = 8
_PATIENCE_SECONDS: Final = 60  # strace makes a server slow
_ACCEPT: Final = ("anyone", "contacts", "nobody", "names")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and its answer. `what` says more for each `kind`; `subject` is a box, or who owns an inbox alone."""

    client: str
    kind: str
    subject: str
    what: Any
    status: int
    answer: Any = None
    ticket: str = ""
    """In hex: what it was delivered with, if not with a token."""


@dataclass(slots=True)
class Journal:
    """What all clients asked, each in its own order, and the keys of all inboxes."""

    random: Random
    asked: list[Asked] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    tickets: dict[str, bytes] = field(default_factory=dict)
    """By the text that is delivered with it."""

    def key(self, subject: str) -> QuickKey:
        return QuickKey(bytes.fromhex(self.keys.setdefault(subject, self.random.randbytes(32).hex())))

    def text(self) -> str:
        """A new message ID, of which every piece of 16 bytes tells its number."""
        self.texts += 1
        return (f"<{self.texts:06}>" * (_MOST_TEXT // 8 + 1))[: self.random.randint(24, _MOST_TEXT)]

    def ticket(self, owner: str, text: str) -> bytes | None:
        """The next one, or the one that the text has already; None for a text that is delivered with a token."""
        if text not in self.tickets and self.random.random() < _SEALED:
            self.tickets[text] = ticket_of(self.key(owner), len(self.tickets))
        return self.tickets.get(text)


def ticket_of(owner: AppKey, number: int) -> bytes:
    """One of those on the owner's sheet. The last one is used by nobody."""
    return hashlib.sha256(owner.secret + number.to_bytes(4)).digest()


def _sheet_of(owner: AppKey) -> bytes:
    ids = b"".join(sorted(id_of_ticket(ticket_of(owner, number)) for number in range(TICKETS)))
    return json.dumps({"week": week_of(system_clock()), "ids": encode(ids)}).encode()


@dataclass(frozen=True, slots=True)
class Client:
    """One who asks; `address` is where from."""

    address: str
    subject: str
    caller: Caller
    journal: Journal

    async def ask(self, kind: str, what: Any, answering: Awaitable[Answer], *expected: int, ticket: str = "") -> Any:
        """The answer's document."""
        answer = await answering
        assert answer.status in expected, answer.body
        document = answer.json() if answer.body else None
        self.journal.asked.append(Asked(self.address, kind, self.subject, what, answer.status, document, ticket))
        return document


@contextlib.asynccontextmanager
async def _client(journal: Journal, url: str, address: str, subject: str, key: str = "") -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=1, local_addr=(address, 0))
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(address, subject, Caller(session, url, journal.key(key or subject), system_clock), journal)


def addresses() -> Iterator[str]:
    return (f"127.0.1.{number}" for number in range(1, 255))


async def claim_all(journal: Journal, url: str) -> None:
    """Claim the inboxes that others deliver to."""
    for number, subject in enumerate([*boxes(), FLEETING]):
        async with _client(journal, url, f"127.0.2.{number + 1}", subject) as client:
            await client.ask("claim", None, client.caller.claim({"accept": "anyone"}), 201)
            if subject != FLEETING:
                await client.ask("sheet", None, put_body(client.caller, _sheet_of(client.caller.key)), 204)


def boxes() -> list[str]:
    return [f"box {number}" for number in range(BOXES)]


async def work(journal: Journal, url: str) -> None:
    """One life of the server: everybody at once, until each has done its part."""
    number, done = addresses(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:

        async def client(subject: str, key: str = "") -> Client:
            return await stack.enter_async_context(_client(journal, url, next(number), subject, key))

        senders = [await client(box, f"sender {who}") for who in range(SENDERS) for box in boxes()]
        devices = [await client(box) for box in boxes() for _ in range(DEVICES)]
        alone, fleeting = await client(ALONE), await client(FLEETING)
        reading = [asyncio.create_task(_read(device, journal.random, done)) for device in devices]
        await asyncio.gather(*map(_send, senders), _change(alone, journal.random), _deliver_briefly(fleeting))
        done.set()
        await asyncio.gather(*reading)


async def deliver_last(journal: Journal, url: str) -> None:
    """What only the write-ahead log holds when the server is killed: nobody acknowledges it, so nobody copies it."""
    async with _client(journal, url, "127.0.3.1", boxes()[0], "sender 0") as client:
        for _ in range(5):
            await _deliver(client, journal.text())


async def _send(sender: Client) -> None:
    random, sent = sender.journal.random, list[str]()
    for _ in range(_DELIVERIES):
        again = sent and random.random() < 0.1
        sent.append(random.choice(sent) if again else sender.journal.text())
        await _deliver(sender, sent[-1])


async def _deliver(sender: Client, text: str) -> None:
    owner, ticket = sender.journal.key(sender.subject), sender.journal.ticket(sender.subject, text)
    if ticket is None:
        await sender.ask("deliver", text, sender.caller.deliver(text, recipient=owner.address), 200, 201)
    else:
        sealed = deliver_sealed(replace(sender.caller, key=owner), ticket, message_id=text)
        await sender.ask("deliver", text, sealed, 200, 201, ticket=ticket.hex())


async def _read(device: Client, random: Random, done: asyncio.Event) -> None:
    """Follow the feed, and acknowledge some of what is in it."""
    cursor, unread = None, list[str]()
    while not done.is_set():
        query: dict[str, Any] = {"limit": random.choice((3, 10, 50)), "wait": 1} | ({"after": cursor} if cursor else {})
        page = await device.ask("page", cursor, device.caller.unread(**query), 200)
        cursor = page["cursor"]
        unread += [entry["id"] for entry in page["messages"]]
        if unread and random.random() < 0.4:
            ids = random.sample(unread, min(len(unread), random.randint(1, _MOST_ACK)))
            await device.ask("ack", ids, device.caller.acknowledge(*ids), 204)
            unread = [id for id in unread if id not in ids]


async def _deliver_briefly(owner: Client) -> None:
    for _ in range(_BRIEF):
        signed = system_clock() - _AGO_SECONDS
        text, bend = owner.journal.text(), {"iat": signed, "exp": signed + 300}
        delivery = owner.caller.deliver(text, recipient=owner.caller.key.address, bend=bend, ttl=_TTL_SECONDS)
        await owner.ask("deliver", text, delivery, 201)
        await asyncio.sleep(1.5)  # so that expiry and sweeps fall among the other work


@dataclass(frozen=True, slots=True)
class View:
    """What the owner who is alone can see: settings, the push services that are subscribed, and the texts in order."""

    settings: dict[str, Any]
    services: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return {"settings": self.settings, "services": list(self.services), "texts": list(self.texts)}


def settings_in(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("retention", "accept", "contacts", "blocked")}


async def _change(owner: Client, random: Random) -> None:
    """Change what an owner can, one after the other; what is to be seen after each goes into the journal with it."""
    view = await _claim(owner)
    for _ in range(_CHANGES):
        chosen = random.random()
        if chosen < 0.35:
            view = await _settle(owner, view, random)
        elif chosen < 0.55:
            view = await _subscribe(owner, view, random)
        elif chosen < 0.75 or not view.texts:
            view = await _keep(owner, view)
        elif chosen < 0.92:
            view = await _acknowledge(owner, view, random)
        else:
            await owner.ask("change", None, owner.caller.give_up(), 204)
            view = await _claim(owner)


async def _claim(owner: Client) -> View:
    """Again from nothing: an inbox that an earlier life of the server left is given up first."""
    await owner.ask("change", None, owner.caller.give_up(), 204)
    defaults = {"retention": 30 * 86_400, "accept": "names", "contacts": 0, "blocked": 0}
    view = View(defaults)
    document = await owner.ask("change", view.document(), owner.caller.claim(), 201)
    assert settings_in(document) == defaults
    return view


async def _settle(owner: Client, view: View, random: Random) -> View:
    asked: dict[str, Any] = {"retention": random.randint(86_400, 90 * 86_400), "accept": random.choice(_ACCEPT)}
    for kind in random.sample(("contacts", "blocked"), random.randint(0, 2)):
        asked[kind] = [QuickKey(random.randbytes(32)).address for _ in range(random.randint(0, 5))]
    counted = {name: len(value) if isinstance(value, list) else value for name, value in asked.items()}
    view = replace(view, settings={**view.settings, **counted})
    document = await owner.ask("change", view.document(), owner.caller.claim(asked), 200)
    assert settings_in(document) == view.settings
    return view


async def _subscribe(owner: Client, view: View, random: Random) -> View:
    """One more, or one less."""
    if view.services and random.random() < 0.4:
        service = random.choice(view.services)
        body = json.dumps({"endpoint": f"{service}/it"}).encode()
        view = replace(view, services=tuple(each for each in view.services if each != service))
        method = "DELETE"
    else:
        service = f"https://push-{random.randint(0, 7)}.example"
        body = json.dumps(Browser(f"{service}/it").subscription()).encode()
        view = replace(view, services=tuple(sorted({*view.services, service})))
        method = "PUT"
    token = owner.caller.owner_token("settings", body)
    await owner.ask("change", view.document(), owner.caller.send(method, "/v1/inbox/push", body, token=token), 204, 201)
    return view


async def _keep(owner: Client, view: View) -> View:
    text = owner.journal.text()
    view = replace(view, texts=(*view.texts, text))
    delivery = owner.caller.deliver(text, recipient=owner.caller.key.address)
    await owner.ask("change", view.document(), delivery, 201)
    return view


async def _acknowledge(owner: Client, view: View, random: Random) -> View:
    gone = random.sample(view.texts, random.randint(1, len(view.texts)))
    view = replace(view, texts=tuple(text for text in view.texts if text not in gone))
    await owner.ask("change", view.document(), owner.caller.acknowledge(*map(id_of, gone)), 204)
    return view
