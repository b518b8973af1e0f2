"""Group `limits`: what the capability document tells, and what happens at its limits."""

from typing import Any, Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group, NotRun
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.observed import CAPABILITIES
from inbox_server.conformance.replies import Reply
from inbox_server.conformance.together import together
from inbox_server.identity.addresses import app_address

GROUP: Final = Group("limits", "limits")
_DOCUMENT: Final = "get-well-knownmessage-inbox"
_OF_THE_PAGE: Final = {
    "message_id_characters": 1024,
    "token_characters": 2048,
    "clock_skew_seconds": 60,
    "min_ttl_seconds": 10,
    "min_retention_seconds": 3600,
    "names": 5,
    "default_page_entries": 100,
    "max_page_entries": 1000,
    "ack_ids": 1000,
    "wait_seconds": 55,
    "waiting_readers": 16,
}
_OF_THE_OPERATOR: Final = (
    "default_retention_seconds",
    "max_retention_seconds",
    "inbox_entries",
    "inbox_bytes",
    "inbox_read_entries",
    "list_entries",
)
_MOST_DELIVERIES: Final = 600  # to fill an inbox; many servers take no more from everybody in a few minutes
_MOST_READ: Final = 5000
_MOST_LISTED: Final = 1500  # addresses that a request has room for
_ID_BYTES: Final = 1024


@GROUP.required("This document says what the server is and what it accepts", section=_DOCUMENT)
async def the_document_has_every_member(bench: Bench) -> None:
    """The capability document has every member of the page, each of its kind."""
    document = (await bench.send("GET", CAPABILITIES)).expect(200).members
    kinds: dict[str, type] = {"protocol": str, "version": int, "origin": str, "registration": str}
    kinds |= {"limits": dict, "software": str}
    for member, kind in kinds.items():
        if not isinstance(document.get(member), kind):
            raise Failed(f"the capability document has no {member}, or one of another kind")
    if document["origin"] != bench.server.url:
        raise Failed("`origin` is another URL than the one that this server was asked at")


@GROUP.required("These are the `limits` of the capability document")
async def the_document_has_every_limit(bench: Bench) -> None:
    """The capability document has every limit; those that are the protocol's own are what the page says."""
    for name, value in _OF_THE_PAGE.items():
        if bench.limit(name) != value:
            raise Failed(f"{name} is {bench.limit(name)}, not {value}")
    for name in _OF_THE_OPERATOR:
        if bench.limit(name) < 0:
            raise Failed(f"{name} is less than nothing")


@GROUP.required("list_entries")
async def lists_have_up_to_their_limit(bench: Bench, inbox: Inbox) -> None:
    """A list of as many addresses as there may be is taken; one more is a `bad_request`."""
    most = bench.limit("list_entries")
    if most > _MOST_LISTED:
        raise NotRun(f"no request has room for {most} addresses")
    addresses = [app_address(b"\x02" + bench.random_bytes(32)) for _ in range(most + 1)]
    for name in ("contacts", "blocked"):
        (await inbox.put({name: addresses})).refused("bad_request", why=f"with {most + 1} addresses")
        if (await inbox.set(**{name: addresses[:-1]})).number(name) != most:
            raise Failed(f"`{name}` does not have the {most} addresses that were set")


@GROUP.required("507 | The inbox is full", section="refusals")
async def a_full_inbox_refuses_and_keeps_what_it_has(bench: Bench, inbox: Inbox) -> None:
    """A full inbox answers `inbox_full`, keeps every entry, still takes repeats, and tells its owner `inbox_full`."""
    size, count = _to_fill(bench)
    texts = [bench.text(size) for _ in range(count)]
    await _deliver_all(inbox, texts)
    refused = (await inbox.deliver(bench.text(size), patient=False)).refused("inbox_full", why=f"entry {count + 1}")
    if not refused.headers.get("Retry-After", "").isdecimal():
        raise Failed("inbox_full has no Retry-After in seconds")
    (await inbox.deliver(texts[0])).expect(200, why="a repeat to a full inbox")
    listed = {id for page in await inbox.pages(limit=1000) for id in page.ids}
    if listed != set(map(id_of, texts)):
        raise Failed(f"a full inbox lists {len(listed)} entries, not the {count} that it was full with")
    await _check_notice(inbox, there=True)
    (await inbox.ack(id_of(texts[0]))).expect(204)
    (await inbox.deliver(bench.text(size))).expect(201, why="when there is room again")
    await _check_notice(inbox, there=False)


def _to_fill(bench: Bench) -> tuple[int, int]:
    """Characters of a message ID, and how many of them fill an inbox. Raises `NotRun` if they are too many."""
    entries, octets = bench.limit("inbox_entries"), bench.limit("inbox_bytes")
    by_bytes = octets // _ID_BYTES
    if min(entries, by_bytes) > _MOST_DELIVERIES:
        raise NotRun(
            f"filling an inbox would take {min(entries, by_bytes)} deliveries;"
            f" run a copy of the server whose inboxes have at most {_MOST_DELIVERIES} entries"
        )
    return (64, entries) if entries <= by_bytes else (_ID_BYTES, by_bytes)


async def _deliver_all(inbox: Inbox, texts: list[str]) -> None:
    for start in range(0, len(texts), 8):
        await together(*(inbox.received(text) for text in texts[start : start + 8]))


async def _check_notice(inbox: Inbox, *, there: bool) -> None:
    listed, shown = (await inbox.page()).notices or (), (await inbox.get()).expect(200).members.get("notices")
    if ("inbox_full" in listed) != there or not isinstance(shown, list) or ("inbox_full" in shown) != there:
        when = "after a delivery was refused for lack of room" if there else "after one was stored again"
        raise Failed(f"the notice inbox_full is {'not there' if there else 'still there'} {when}, in a list or in GET")


@GROUP.required("An inbox remembers at most `inbox_read_entries` of such IDs", section="post-v1messagesack-acknowledge")
async def a_cursor_from_before_what_was_forgotten_is_gone(bench: Bench, inbox: Inbox) -> None:
    """When more was read than the server remembers, an older cursor is `cursor_gone`, and a newer one is not."""
    most = bench.limit("inbox_read_entries")
    if most > _MOST_READ:
        raise NotRun(f"the server remembers {most} read entries; run a copy that remembers at most {_MOST_READ}")
    old = await inbox.cursor()
    await inbox.received(bench.text())
    left = most + 400  # the oldest are forgotten 200 at a time
    while left > 0:
        ids = [id_of(bench.text(16)) for _ in range(min(left, 1000))]
        (await inbox.ack(*ids)).expect(204)
        left -= len(ids)
    new = (await inbox.pages())[-1].cursor
    (await inbox.listed(after=old)).refused("cursor_gone", why="after a cursor from before what was forgotten")
    if not (await inbox.page(after=new)).is_empty:
        raise Failed("a cursor from after what was forgotten tells something")
    if len((await inbox.page()).ids) != 1:
        raise Failed("what is unread was forgotten with what was read")


def _object(reply: Reply, member: str) -> dict[str, Any]:
    """A member that is an object. Raises `Failed`."""
    value = reply.members.get(member)
    if not isinstance(value, dict):
        raise Failed(f"{reply.asked}: `{member}` is not an object")
    return value


@GROUP.required('"quota": {"entries", "bytes", "bytes_used", "read_entries"}', section="get-v1inbox")
async def the_quota_is_that_of_the_document(bench: Bench, inbox: Inbox) -> None:
    """An inbox's quota is what the capability document tells, and `bytes_used` grows with what is unread."""
    quota = _object((await inbox.get()).expect(200), "quota")
    for member in ("entries", "bytes", "read_entries"):
        if quota.get(member) != bench.limit(f"inbox_{member}"):
            raise Failed(f"the quota's {member} is not that of the capability document")
    if quota.get("bytes_used") != 0:
        raise Failed("an inbox without anything unread uses bytes")
    await inbox.received(bench.text(1000))
    used = _object((await inbox.get()).expect(200), "quota").get("bytes_used")
    if used != 1000:
        raise Failed(f"with 1,000 characters unread, bytes_used is {used}")
