"""The inboxes of a run: claimed when they are needed, lent to one case at a time, deleted at the end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from inbox_server.checks.results import quoted
from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, NotRun
from inbox_server.conformance.identities import Identity
from inbox_server.conformance.replies import Page, Reply, page_of

RETENTION_SECONDS: Final = 2 * 86_400
_CLEAN_UPS: Final = 3  # attempts to delete each inbox
_MOST_PAGES: Final = 50
_MOST_CLAIMS: Final = 30  # servers limit how many are claimed in an hour
_BRIEF_SECONDS: Final = 60


@dataclass(slots=True)
class Inbox:
    """An inbox that belongs to this run. A new one takes deliveries from every key."""

    bench: Bench
    owner: Identity
    settings_issued: int = 0
    """The `iat` of the last settings token: an older one would be stale."""
    invite: str = ""
    brief: list[str] = field(default_factory=list)
    """The ids of entries that were to live for a minute or less: a server may count them until it sweeps."""

    @property
    def admission(self) -> dict[str, Any]:
        """What it takes to claim this inbox again."""
        names = {"names": [self.owner.name]} if self.owner.name else {}
        return names | ({"invite": self.invite} if self.invite else {})

    @property
    def address(self) -> str:
        return self.owner.key.address

    async def ask(
        self, method: str, path: str, scope: str, body: bytes = b"", *, patient: bool = True, **claims: Any
    ) -> Reply:
        if scope == "settings":
            self.settings_issued = max(self.settings_issued, self.bench.now())
            claims = {"issued": self.settings_issued, **claims}
        token = self.bench.owner_token(self.owner, scope, body, **claims)
        return await self.bench.send(method, path, token=token, body=body, patient=patient)

    async def put(self, settings: Mapping[str, Any], **claims: Any) -> Reply:
        return await self.ask("PUT", "/v1/inbox", "settings", json.dumps(settings).encode(), **claims)

    async def set(self, **settings: Any) -> Reply:
        """Change settings. Raises `Failed` if that is refused."""
        return (await self.put(settings)).expect(200)

    async def get(self) -> Reply:
        return await self.ask("GET", "/v1/inbox", "read")

    async def delete(self) -> Reply:
        return await self.ask("DELETE", "/v1/inbox", "settings")

    async def listed(self, **query: Any) -> Reply:
        """`after`, `limit` and `wait`."""
        token = self.bench.owner_token(self.owner, "read")
        path = "/v1/messages" + (f"?{urlencode(query)}" if query else "")
        return await self.bench.send("GET", path, token=token, stays_open="wait" in query)

    async def page(self, **query: Any) -> Page:
        return page_of(await self.listed(**query))

    async def pages(self, **query: Any) -> list[Page]:
        """This page and all that follow it while there are more."""
        found = [await self.page(**query)]
        while found[-1].more and len(found) < _MOST_PAGES:
            found.append(await self.page(**{**query, "after": found[-1].cursor}))
        return found

    async def cursor(self) -> str:
        """The end of the feed."""
        return (await self.pages())[-1].cursor

    async def ack(self, *ids: str) -> Reply:
        return await self.ask("POST", "/v1/messages/ack", "ack", json.dumps({"ids": ids}).encode())

    async def deliver(self, text: str, **more: Any) -> Reply:
        """Deliver to the owner's key; the rest as in `Bench.deliver`."""
        if (more.get("ttl") or _BRIEF_SECONDS + 1) <= _BRIEF_SECONDS:
            self.brief.append(id_of(text))
        return await self.bench.deliver(self.owner.key.public, text, **more)

    async def received(self, *texts: str, **more: Any) -> list[str]:
        """Deliver these one after another; the ids. Raises `Failed` unless each is a new entry."""
        for text in texts:
            (await self.deliver(text, **more)).expect(201)
        return [id_of(text) for text in texts]


@dataclass(slots=True)
class Inboxes:
    """Lends inboxes. `most` is how many there may be at a time, `invites` what they are claimed with.

    One that a case leaves in a state that it cannot be brought back from is set aside, and another one is claimed.

    `why_none` says why no more can be claimed.
    """

    bench: Bench
    invites: Sequence[str]
    most: int
    why_none: str = "no more inboxes are claimed in one run"
    _free: list[Inbox] = field(default_factory=list)
    _made: list[Inbox] = field(default_factory=list)
    _set_aside: int = 0
    _lent: int = 0
    _tried: set[str] = field(default_factory=set)
    _used: int = 0
    _takes_keys: bool = True
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def count(self) -> int:
        """How many there are, or may be."""
        return len(self._made)

    @contextlib.asynccontextmanager
    async def lent(self, count: int, *, named: bool = False) -> AsyncIterator[list[Inbox]]:
        """So many empty inboxes, the first of a named owner if it must be. Raises `NotRun` if there are not enough."""
        async with self._changed:
            while (found := await self._find(count, named=named)) is None:
                await self._changed.wait()
            self._free = [inbox for inbox in self._free if inbox not in found]
            self._lent += count
        try:
            yield found
        finally:
            ready = [inbox for inbox in found if await self._is_ready(inbox)]
            async with self._changed:
                self._lent -= count
                self._free += ready
                self._set_aside += count - len(ready)
                self._changed.notify_all()

    async def _find(self, count: int, *, named: bool) -> list[Inbox] | None:
        """Those to lend, or None if some must come back first."""
        while True:
            fit = sorted(self._free, key=lambda inbox: (inbox.owner.name is not None) != named)
            if len(fit) >= count and (not named or (fit and fit[0].owner.name)):
                return fit[:count]
            if not await self._claim_one(named=named):
                if self._lent:
                    return None
                raise NotRun(self._lacking(count, named=named))

    def _lacking(self, count: int, *, named: bool) -> str:
        kind = "an inbox whose owner has a name" if named else "an inbox" if count == 1 else f"{count} inboxes"
        return f"it needs {kind}: {self.why_none}"

    async def _claim_one(self, *, named: bool) -> bool:
        """Whether one more inbox was claimed."""
        left = [identity for identity in self.bench.names if identity.key.public not in self._tried]
        are_enough = len(self._made) - self._set_aside >= self.most or len(self._made) >= _MOST_CLAIMS
        if named or not self._takes_keys or are_enough:
            if not left:
                if named and not self.bench.names:
                    self.why_none = "give names of yours with --names"
                return False
            identity = left[0]
        else:
            identity = self.bench.somebody()
        self._tried.add(identity.key.public)
        inbox = Inbox(self.bench, identity)
        try:
            await self._claim(inbox)
        except NotRun as reason:
            self.why_none = str(reason)
            self._takes_keys = self._takes_keys and identity.name is not None
            return await self._claim_one(named=named)
        self._free.append(inbox)
        return True

    async def _claim(self, inbox: Inbox) -> None:
        """Raises `NotRun`; then nothing was claimed."""
        name = inbox.owner.name
        if name and (await inbox.get()).code != "no_inbox":
            raise NotRun(f"{name} has an inbox at this server already, and the suite touches no inbox of anybody's")
        settings = settings_of(inbox)
        if self.bench.document.get("registration") == "invite":
            if self._used >= len(self.invites):
                raise NotRun("the server takes invites only: give one with --invite for each inbox (6 are enough)")
            inbox.invite = settings["invite"] = self.invites[self._used]
            self._used += 1
        self._made.append(inbox)  # before it is claimed, so that one whose claim gets no answer is deleted too
        reply = await inbox.put(settings)
        if reply.code:
            self._made.remove(inbox)
            detail = quoted(reply.members.get("detail", "")).removesuffix(".")
            raise NotRun(f"the server claims no inbox for {name or 'a new key'}: {reply.code}, {detail}")
        reply.expect(201, why="claiming an inbox")

    async def _is_ready(self, inbox: Inbox) -> bool:
        """Whether it can be lent again: settings as at first, and nothing unread."""
        try:
            if (await inbox.put(settings_of(inbox))).expect(200).members.get("push"):
                (await inbox.ask("DELETE", "/v1/inbox/push", "settings")).expect(204)
            for _ in range(_MOST_PAGES):
                page = await inbox.page(limit=100)
                if not page.messages and not inbox.brief:
                    return True
                (await inbox.ack(*page.ids, *inbox.brief)).expect(204)
                inbox.brief.clear()
        except (Failed, NotRun):
            return False
        return False

    async def give_up_all(self) -> list[str]:
        """Delete every inbox of the run; the reasons why some may still be there."""
        left = [await _give_up(inbox) for inbox in self._made]
        return [reason for reason in left if reason]


def settings_of(inbox: Inbox) -> dict[str, Any]:
    """An inbox's settings as a case gets it."""
    names = [inbox.owner.name] if inbox.owner.name else []
    return {"retention": RETENTION_SECONDS, "accept": "anyone", "contacts": [], "blocked": [], "names": names}


async def _give_up(inbox: Inbox) -> str:
    said = ""
    for _ in range(_CLEAN_UPS):
        try:
            reply = await inbox.delete()
        except (Failed, NotRun) as error:
            said = str(error)
            continue
        if reply.status == 204 or reply.code == "no_inbox":
            return ""
        said = reply.told
    return f"the inbox of {inbox.owner.name or inbox.address} may still be there: {said}"
