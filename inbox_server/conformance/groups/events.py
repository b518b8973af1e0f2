"""Group `events`: the stream of server-sent events."""

import asyncio
import json
from typing import Final

from inbox_server.checks.results import quoted
from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.events import Event, Events, open_events, refused_events
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Entry
from inbox_server.conformance.together import together

GROUP: Final = Group("events", "get-v1events-follow-as-it-happens")
_PING_SECONDS: Final = 45
_SLACK_SECONDS: Final = 8


@GROUP.required("Without `Last-Event-ID`, the first `state` is the list, even when it is empty.")
async def the_first_state_is_the_list(bench: Bench, inbox: Inbox) -> None:
    """The first `state` comes at once, even when the inbox is empty, and is what a list without a cursor is."""
    async with open_events(inbox) as stream:
        _check_state(await stream.state(), [], with_read=False)
    ids = await inbox.received(bench.text(), bench.text())
    async with open_events(inbox) as stream:
        _check_state(await stream.state(), ids, with_read=False)


def _check_state(event: Event, ids: list[str], *, with_read: bool) -> None:
    page = event.page
    if page.ids != ids:
        raise Failed(f"a state has {len(page.ids)} entries, not the {len(ids)} that a list has")
    if (page.read is not None) != with_read:
        raise Failed(f"a state has {'no' if with_read else 'a'} `read`, unlike a list")


@GROUP.required("and its `id` is the page's cursor")
async def the_id_of_a_state_is_its_cursor(bench: Bench, inbox: Inbox) -> None:
    """The `id` of every `state` is the cursor of its page, and a list after it goes on from there."""
    async with open_events(inbox) as stream:
        events = [await stream.state()]
        await inbox.received(bench.text())
        events.append(await stream.state())
    for event in events:
        if event.id != event.page.cursor:
            raise Failed("the id of a state is not the cursor of its page")
    if len((await inbox.page(after=events[0].id)).ids) != 1 or not (await inbox.page(after=events[1].id)).is_empty:
        raise Failed("a list after the id of a state does not have just what came after that state")


@GROUP.required("Each `state` is a page, as `GET /v1/messages` gives it after the event before")
async def a_delivery_is_told_while_the_stream_is_open(bench: Bench, inbox: Inbox) -> None:
    """Deliveries come one by one in their order, as they happen, each once; then an acknowledgement, in `read`."""
    async with open_events(inbox) as stream:
        await stream.state()
        ids = []
        for _ in range(5):
            ids += await inbox.received(bench.text())
            _check_state(await stream.state(), ids[-1:], with_read=True)
        (await inbox.ack(ids[1])).expect(204)
        event = await stream.state()
        _check_state(event, [], with_read=True)
        if event.page.read != (ids[1],):
            raise Failed("what was read on another device is not told in `read`")


@GROUP.required("Each `state` is a page, as `GET /v1/messages` gives it after the event before")
async def a_fast_feed_comes_in_order(bench: Bench, inbox: Inbox) -> None:
    """Of deliveries at full speed none is left out, none comes twice, and the order is that of the list."""
    before = await inbox.cursor()
    texts = [bench.text() for _ in range(60)]

    async def deliver(own: list[str]) -> None:
        for text in own:
            (await inbox.deliver(text)).expect(201)

    async def read() -> list[str]:
        seen: list[str] = []
        async with open_events(inbox, after=before) as stream:
            while len(seen) < len(texts):
                seen += (await stream.state()).page.ids
        return seen

    seen, *_ = await together(read(), *(_nothing(deliver(texts[number::3])) for number in range(3)))
    if seen != [id for page in await inbox.pages(after=before) for id in page.ids]:
        raise Failed("the stream told the entries in another order than the list, or one of them twice")


async def _nothing(work: object) -> list[str]:
    await work  # type: ignore[misc]
    return []


@GROUP.required("The header `Last-Event-ID` takes a cursor.")
async def a_stream_resumes_at_a_cursor(bench: Bench, inbox: Inbox) -> None:
    """A stream with `Last-Event-ID` tells what came after that cursor, and nothing before; then it goes on."""
    old = await inbox.received(bench.text())
    cursor = await inbox.cursor()
    new = await inbox.received(bench.text())
    (await inbox.ack(*old)).expect(204)
    async with open_events(inbox, after=cursor) as stream:
        event = await stream.state()
        _check_state(event, new, with_read=True)
        if event.page.read != tuple(old):
            raise Failed("a stream that resumes does not tell what was read meanwhile")
        _check_state_ids(await _told(stream, inbox), 1)
    async with open_events(inbox, after=await inbox.cursor()) as stream:
        _check_state_ids(await _told(stream, inbox), 1)


async def _told(stream: Events, inbox: Inbox) -> Event:
    """The first event with anything in it, after a delivery."""
    await inbox.received(inbox.bench.text())
    while True:
        event = await stream.state()
        if not event.page.is_empty:
            return event


def _check_state_ids(event: Event, count: int) -> None:
    if len(event.page.ids) != count or event.page.read is None:
        raise Failed(f"a state after a cursor has {len(event.page.ids)} entries, not {count}, or no `read`")


@GROUP.required("except that an event never has more than 100 entries (the rest follows at once)")
async def a_long_list_comes_in_several_events(bench: Bench, inbox: Inbox) -> None:
    """No event has more than 100 entries, nor more than `limit`; what is left follows at once."""
    texts = [bench.text() for _ in range(103)]
    for start in range(0, len(texts), 8):
        await together(*(inbox.received(text) for text in texts[start : start + 8]))
    for query, most in (("", 100), ("?limit=40", 40), ("?limit=1000", 100)):
        seen: list[Entry] = []
        async with open_events(inbox, query) as stream:
            while len(seen) < len(texts):
                page = (await stream.state()).page
                if len(page.messages) > most:
                    raise Failed(f"an event has {len(page.messages)} entries, with {query or 'no limit'}")
                seen += page.messages
        if sorted(entry.id for entry in seen) != sorted(map(id_of, texts)):
            raise Failed("the events do not have every entry once")


@GROUP.required("with `closeafter=state`, the stream ends after the first `state` that has `messages` or `read`.")
async def closeafter_ends_the_stream(bench: Bench, inbox: Inbox) -> None:
    """With `closeafter=state` an empty state does not end the stream, and the first with an entry does."""
    async with open_events(inbox, "?closeafter=state") as stream:
        _check_state(await stream.state(), [], with_read=False)
        ids = await inbox.received(bench.text())
        _check_state(await stream.state(), ids, with_read=True)
        _check_reason(await stream.end(), "closeafter")
    async with open_events(inbox, "?closeafter=state") as stream:
        _check_state(await stream.state(), ids, with_read=False)
        _check_reason(await stream.end(), "closeafter")


def _check_reason(data: str, *reasons: str) -> None:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("reason") not in reasons:
        raise Failed(f"the end of the stream says {quoted(data)}, not the reason {' or '.join(reasons)}")


@GROUP.required("`token_expired`: 60 seconds have passed since `exp`, so the token is no longer accepted.")
async def a_stream_ends_with_its_token(bench: Bench, inbox: Inbox) -> None:
    """A stream ends as `token_expired` when its token is no longer accepted, not before and not long after."""
    now, begun = bench.now(), asyncio.get_running_loop().time()
    async with open_events(inbox, issued=now - 296, seconds=300 - 60) as stream:  # accepted for 4 s more
        await stream.state()
        _check_reason(await stream.end(4 + bench.seconds), "token_expired")
    held = asyncio.get_running_loop().time() - begun
    if held < 2:
        raise Failed(f"a stream ended as token_expired {4 - held:.0f} s early")


@GROUP.required("the code of a refusal, such as `no_inbox`", uses_up=True)
async def a_stream_ends_when_its_inbox_is_deleted(inbox: Inbox) -> None:
    """When the inbox is deleted, its streams end with the code of a refusal: `no_inbox`, or first `cursor_gone`."""
    async with open_events(inbox) as stream:
        await stream.state()
        (await inbox.delete()).expect(204)
        _check_reason(await stream.end(), "no_inbox", "cursor_gone")


@GROUP.required("`retry`, in the first `state` and in `end`, is for libraries that reconnect by themselves")
async def retry_is_in_the_first_state_and_in_the_end(bench: Bench, inbox: Inbox) -> None:
    """The first `state` and `end` have a `retry` in milliseconds."""
    await inbox.received(bench.text())
    async with open_events(inbox, "?closeafter=state") as stream:
        events = [await stream.next(), await stream.next()]
    for event in events:
        if event is None or not event.retry.isdecimal():
            raise Failed(f"the event {event.name if event else 'at the end'} has no `retry` in milliseconds")


@GROUP.required("A refusal before the stream begins is an answer like any other.")
async def a_refusal_before_the_stream_is_an_answer(bench: Bench, inbox: Inbox) -> None:
    """What is wrong is refused before a stream begins: a parameter, a cursor, a token, an inbox that is none."""
    (await refused_events(inbox, "?closeafter=x")).refused("bad_request")
    (await refused_events(inbox, "?limit=0")).refused("bad_request")
    (await refused_events(inbox, after="x")).refused("bad_cursor")
    (await refused_events(inbox, aud="https://other.example")).refused("bad_token")
    (await refused_events(Inbox(bench, bench.somebody()))).refused("no_inbox")


@GROUP.required("The server sends a comment when it has sent nothing else for 45 seconds.", slow=True)
async def a_silent_stream_has_comments(inbox: Inbox) -> None:
    """On a stream on which nothing happens a comment comes within 45 seconds, so that nobody takes it for dead."""
    async with open_events(inbox) as stream:
        await stream.state()
        try:
            event = await stream.any(_PING_SECONDS + _SLACK_SECONDS)
        except TimeoutError:
            raise Failed(f"nothing was sent for {_PING_SECONDS + _SLACK_SECONDS} s") from None
        if event is None or not event.comment:
            raise Failed("on a silent stream something else came than a comment, or it ended")


@GROUP.required("A stream carries nothing that a list would not, so a client that listens and one that lists agree.")
async def a_stream_and_a_list_agree(bench: Bench, inbox: Inbox) -> None:
    """A client that listens from the start has, at each quiet moment, what one has that lists."""
    known: dict[str, Entry] = {}
    async with open_events(inbox) as stream:
        _apply(known, await stream.state())
        for _ in range(4):
            ids = await inbox.received(*(bench.text() for _ in range(4)))
            await together(*(inbox.ack(id) for id in ids[::2]), inbox.deliver(bench.text(), ttl=3600))
            listed = {entry.id: entry for page in await inbox.pages() for entry in page.messages}
            while known != listed:
                event = await stream.next()
                if event is None or event.name != "state":
                    raise Failed(f"the stream ended at {len(known)} entries; {len(listed)} are listed")
                _apply(known, event)


def _apply(known: dict[str, Entry], event: Event) -> None:
    page = event.page
    known.update({entry.id: entry for entry in page.messages})
    for id in page.read or ():
        known.pop(id, None)
