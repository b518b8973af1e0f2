"""Group `follow`: answers that are held until something changes."""

import asyncio
from typing import Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group, NotRun
from inbox_server.conformance.events import open_events
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply, page_of
from inbox_server.conformance.together import together

GROUP: Final = Group("follow", "get-v1messages-list-or-follow")
_HELD: Final = "With `wait`, the server holds an answer without `messages` and `read` back until something changes"
_READERS: Final = "At most 16 readers of an inbox, including streams, wait at a time."
_MOST_READERS: Final = 64
_EARLY_SECONDS: Final = 0.5  # clocks may differ by so much
_LONG_SECONDS: Final = 50


def _time() -> float:
    return asyncio.get_running_loop().time()


@GROUP.required(_HELD)
async def a_held_answer_comes_with_the_change(bench: Bench, inbox: Inbox) -> None:
    """An answer that is held comes as soon as there is a delivery, or an acknowledgement on another device."""
    cursor = await inbox.cursor()
    text = bench.text()
    held = asyncio.create_task(inbox.listed(after=cursor, wait=_LONG_SECONDS))
    (await inbox.deliver(text)).expect(201)
    page = page_of(await _soon(bench, held, "a delivery"))
    if page.ids != [id_of(text)]:
        raise Failed("the answer that was held does not have the delivery")
    held = asyncio.create_task(inbox.listed(after=page.cursor, wait=_LONG_SECONDS))
    (await inbox.ack(id_of(text))).expect(204)
    if page_of(await _soon(bench, held, "an acknowledgement")).read != (id_of(text),):
        raise Failed("the answer that was held does not tell what was read")


async def _soon(bench: Bench, held: asyncio.Task[Reply], what: str) -> Reply:
    """Raises `Failed` if the answer is still held."""
    done, _ = await asyncio.wait([held], timeout=bench.seconds)
    if not done:
        held.cancel()
        raise Failed(f"an answer was still held {bench.seconds:g} s after {what}")
    return held.result()


@GROUP.required("It gives the empty answer when the seconds are over")
async def an_empty_answer_is_held_for_its_seconds(bench: Bench, inbox: Inbox) -> None:
    """An empty answer is held for the seconds that were asked for, and comes then, with a cursor."""
    cursor, begun = await inbox.cursor(), _time()
    page = await inbox.page(after=cursor, wait=2)
    held = _time() - begun
    if not page.is_empty:
        raise Failed("an answer in which nothing had changed is not empty")
    if not 2 - _EARLY_SECONDS <= held <= 2 + bench.seconds:
        raise Failed(f"an answer with wait=2 came after {held:.1f} s")


@GROUP.required(_HELD)
async def what_waits_is_not_held_back(bench: Bench, inbox: Inbox) -> None:
    """With `wait`, what is there already is answered at once."""
    ids, begun = await inbox.received(bench.text()), _time()
    page = await inbox.page(wait=_LONG_SECONDS)
    if page.ids != ids or _time() - begun > bench.seconds:
        raise Failed(f"an answer with an entry came after {_time() - begun:.1f} s")


@GROUP.required("It gives the empty answer when the seconds are over, when the token is no longer accepted")
async def a_held_answer_ends_with_its_token(bench: Bench, inbox: Inbox) -> None:
    """An answer is not held for longer than its token is accepted."""
    now, begun = bench.now(), _time()
    token = bench.owner_token(inbox.owner, "read", issued=now - 296, seconds=300 - 60)  # accepted for 4 s more
    reply = await bench.send("GET", f"/v1/messages?wait={_LONG_SECONDS}", token=token, stays_open=True)
    page, held = page_of(reply), _time() - begun
    if not page.is_empty or held > 4 + bench.seconds:
        raise Failed(f"with a token that is accepted for 4 s more, an answer was held for {held:.0f} s")


@GROUP.required(_HELD, slow=True)
async def an_answer_is_held_for_as_long_as_the_limit(bench: Bench, inbox: Inbox) -> None:
    """An answer is held for the longest `wait`, 55 seconds, and no proxy cuts it off."""
    wait, begun = bench.limit("wait_seconds"), _time()
    page = await inbox.page(wait=wait)
    held = _time() - begun
    if not page.is_empty or not wait - _EARLY_SECONDS <= held <= wait + bench.seconds:
        raise Failed(f"an answer with wait={wait} came after {held:.1f} s")


@GROUP.required(_READERS, "If there are only held answers, the new reader is refused (`too_many`).")
async def one_reader_too_many_is_refused(bench: Bench, inbox: Inbox) -> None:
    """Of one more held answers than may wait, one is refused as `too_many`; the others are all told of the change."""
    most, cursor = _most_readers(bench), await inbox.cursor()

    async def read() -> Reply:
        token = bench.owner_token(inbox.owner, "read")
        path = f"/v1/messages?wait={_LONG_SECONDS}&after={cursor}"
        return await bench.send("GET", path, token=token, stays_open=True, patient=False)

    async def deliver_once_refused() -> Reply:
        await asyncio.wait(readers, timeout=bench.seconds, return_when=asyncio.FIRST_COMPLETED)
        return (await inbox.deliver(bench.text())).expect(201)

    readers = [asyncio.create_task(read()) for _ in range(most + 1)]
    try:
        await deliver_once_refused()
        replies = await asyncio.wait_for(asyncio.gather(*readers), bench.seconds)
    except TimeoutError:
        raise Failed(f"not all of {most + 1} held answers came {bench.seconds:g} s after a delivery") from None
    finally:
        for reader in readers:
            reader.cancel()
    refused = [reply for reply in replies if reply.status != 200]
    if len(refused) != 1:
        raise Failed(f"of {most + 1} held answers {len(refused)} were refused, not 1")
    refused[0].refused("too_many")
    if any(len(page_of(reply).ids) != 1 for reply in replies if reply.status == 200):
        raise Failed("a held answer came without the delivery")


@GROUP.required("When one more comes, the stream that was opened first gives up its place.")
async def the_first_stream_gives_up_its_place(bench: Bench, inbox: Inbox) -> None:
    """When all places are taken, the stream that was opened first ends as `replaced`, and no reader is refused."""
    most, cursor = _most_readers(bench), await inbox.cursor()
    async with open_events(inbox) as first:
        await first.state()
        readers = [asyncio.create_task(inbox.listed(wait=_LONG_SECONDS, after=cursor)) for _ in range(most)]
        try:
            if "replaced" not in await first.end():
                raise Failed("the stream that gave up its place does not say `replaced`")
            (await inbox.deliver(bench.text())).expect(201)
            for reply in await asyncio.wait_for(asyncio.gather(*readers), bench.seconds):
                reply.expect(200, why="while a stream could give up its place")
        except TimeoutError:
            raise Failed("a held answer did not come with the delivery") from None
        finally:
            for reader in readers:
                reader.cancel()


def _most_readers(bench: Bench) -> int:
    most = bench.limit("waiting_readers")
    if most > _MOST_READERS:
        raise NotRun(f"{most} readers may wait at a time, which are too many for a test")
    return most


@GROUP.required(_HELD)
async def readers_that_wait_all_hear(bench: Bench, inbox: Inbox) -> None:
    """Several readers that wait at the same time all hear of the same delivery, and of each of ten in a row."""
    texts = [bench.text() for _ in range(10)]

    async def read(cursor: str) -> None:
        seen: list[str] = []
        while len(seen) < len(texts):
            page = await inbox.page(after=cursor, wait=20)
            if page.is_empty:
                raise Failed("an answer was held for 20 s while there were deliveries")
            seen += page.ids
            cursor = page.cursor
        if seen != [id_of(text) for text in texts]:
            raise Failed("a reader got the entries in another order, or one twice")

    async def deliver() -> None:
        for text in texts:
            (await inbox.deliver(text)).expect(201)

    cursor = await inbox.cursor()
    await together(*(read(cursor) for _ in range(4)), deliver())
