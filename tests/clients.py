"""Clients in the local world: with state in memory, time moved by hand, and requests that can be cut off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from inbox_server.client.client import InboxClient
from inbox_server.client.inbox import Sleep
from inbox_server.client.keeping import InMemory, Keeper
from inbox_server.client.opening import open_client
from inbox_server.client.outbox import Outbox
from inbox_server.client.profile import Profile
from inbox_server.world.local import World
from inbox_server.world.people import Person

T = TypeVar("T")


class Cut(Exception):
    """The program dies here."""


@dataclass(slots=True)
class Scissors:
    """Cuts the client off at the n-th thing that it does: before a request, after its answer, or at a write."""

    at: int
    where: str
    seen: int = 0

    def pass_by(self, where: str) -> None:
        if where == self.where:
            self.seen += 1
            if self.seen == self.at:
                raise Cut(f"{where} {self.at}")

    def trace(self) -> aiohttp.TraceConfig:
        async def begin(*_: Any) -> None:
            self.pass_by("request")

        async def end(*_: Any) -> None:
            self.pass_by("answer")

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(begin)
        trace.on_request_end.append(end)
        return trace


class Fragile(InMemory[T]):
    """Keeps what it kept when the program dies, which it may before a write or right after it."""

    def __init__(self, value: T, scissors: Scissors) -> None:
        super().__init__(value)
        self.scissors = scissors

    def change(self, change: Callable[[T], T]) -> T:
        self.scissors.pass_by("before writing")
        changed = super().change(change)
        self.scissors.pass_by("after writing")
        return changed


def profile_of(world: World, person: Person, *, named: bool = True, **more: Any) -> Profile:
    services = (world.names_url,)
    name = person.name if named else None
    return Profile(person.app_key, person.app, world.hub_url, (world.read_url,), name, services, **more)


async def soon(seconds: float) -> None:
    """Sleeps two hundred times faster: back-off stays in order, and a test need not wait for it."""
    await asyncio.sleep(seconds / 200)


@contextlib.asynccontextmanager
async def opened(
    world: World,
    profile: Keeper[Profile],
    outbox: Keeper[Outbox] | None = None,
    *,
    sleep: Sleep = soon,
    patience_seconds: float = 0,
    scissors: Scissors | None = None,
) -> AsyncIterator[InboxClient]:
    outbox = outbox or InMemory[Outbox]({})
    traces = (scissors.trace(),) if scissors else ()
    async with open_client(
        profile, outbox, clock=world.clock, sleep=sleep, patience_seconds=patience_seconds, traces=traces
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def client_of(
    world: World, name: str, *inboxes: str, app: str, settings: dict[str, Any] | None = None
) -> AsyncIterator[InboxClient]:
    """A new person of the world; with inboxes claimed and on a card, if any are named."""
    profile = InMemory(profile_of(world, await world.settle(name, app)))
    async with opened(world, profile) as client:
        if inboxes:
            claimed = await client.claim({"names": [name], **(settings or {})}, inboxes=inboxes)
            assert [outcome.state for outcome in claimed] == ["done"] * len(inboxes)
            await client.publish(inboxes)
        yield client
