"""Reads an event stream while something else happens, to see when its events arrive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from inbox_server.checks.asking import NoAnswer, Server
from inbox_server.checks.results import Findings, quoted

_MOST_EVENTS: Final = 16  # a correct stream has two
_LATE_SECONDS: Final = 0.15  # HAProxy keeps each event for 0.2
_UNBUFFER: Final = (
    "Turn response buffering and compression off for /v1/events (nginx: `proxy_buffering off`; lighttpd:"
    " `server.stream-response-body = 1`; Varnish: no `do_gzip`), and let X-Accel-Buffering and Content-Encoding pass."
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event's name and when it came, by the loop's clock; or why there are no more. Comments are ignored."""

    at: float
    event: str = ""
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that is being read. `opened` is the time of the request, `seconds` how long to wait for an event."""

    arrivals: asyncio.Queue[Arrival]
    opened: float
    seconds: float

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def next(self) -> Arrival | None:
        """The next event, or None if none arrives in time."""
        try:
            return await asyncio.wait_for(self.arrivals.get(), self.seconds)
        except TimeoutError:
            return None

    async def rest(self) -> list[Arrival]:
        """All events until it ends, or until none arrives in time."""
        found: list[Arrival] = []
        while len(found) < _MOST_EVENTS and not (found and found[-1].ended):
            arrival = await self.next()
            if arrival is None:
                break
            found.append(arrival)
        return found


@contextlib.asynccontextmanager
async def open_stream(server: Server, token: str, *, closes: bool) -> AsyncIterator[Stream]:
    """`GET /v1/events`, read in the background. With `closes`, it ends after the first event with a message."""
    stream = Stream(asyncio.Queue(), asyncio.get_running_loop().time(), server.seconds)
    task = asyncio.create_task(_follow(server, token, stream.arrivals, closes=closes))
    try:
        yield stream
    finally:
        task.cancel()
        await asyncio.wait([task])


def check_events(
    stream: Stream, first: Arrival | None, rest: list[Arrival], sent: float, taken: float, findings: Findings
) -> None:
    """`first` arrived before a delivery was `sent`, while the stream was open; `rest` came afterwards.

    `taken` is when the delivery was answered: by then its event is on the way.
    """
    told = next((arrival for arrival in rest if arrival.event == "state"), None)
    end = rest[-1].ended if rest else ""
    if first is not None and first.ended:
        findings.fail("events", f"there is no event stream: {first.ended}", "Does the proxy let /v1/events through?")
    elif first is None and told is not None:
        waited = told.at - stream.opened
        said = f"the first event came only when the stream had ended, after {waited:.1f} s: something in front keeps it"
        findings.fail("events", said, _UNBUFFER)
    elif first is None or told is None:
        when = "at once" if first is None else "for a delivery"
        said = f"no event came {when}, within {stream.seconds:g} s" + (f"; {end}" if end not in ("", "end") else "")
        findings.fail("events", said, _UNBUFFER)
    elif end != "end":
        findings.fail("events", end or "the stream did not end when it was asked to", "What cuts long answers off?")
    elif told.at - taken > _LATE_SECONDS:
        late = 1000 * (told.at - taken)
        said = f"an event comes {late:.0f} ms after the delivery was answered: something in front delays events"
        findings.warn("events", said, "HAProxy: `option http-no-delay`.")
    else:
        opened, news = 1000 * (first.at - stream.opened), 1000 * (told.at - sent)
        findings.ok("events", f"the stream opens in {opened:.0f} ms, a delivery is told in {news:.0f} ms")


async def check_waiting(stream: Stream, findings: Findings) -> None:
    """Check that unread messages come while the stream is open, in an event so large that proxies compress it."""
    first = await stream.next()
    if first is not None and first.event == "state":
        findings.ok("waiting", f"unread messages come in {1000 * (first.at - stream.opened):.0f} ms")
    else:
        why = first.ended if first else f"no event came within {stream.seconds:g} s"
        findings.fail("waiting", f"what waits is not told while the stream is open: {why}", _UNBUFFER)


async def _follow(server: Server, token: str, arrivals: asyncio.Queue[Arrival], *, closes: bool) -> None:
    loop = asyncio.get_running_loop()
    why = "it ended without an `end` event, so something cut it off"
    try:
        path = "/v1/events?closeafter=state" if closes else "/v1/events"
        headers = {"Accept-Encoding": "gzip"}  # as browsers do; some proxies hold back what they compress
        async with server.asked("GET", path, token=token, headers=headers, stays_open=True) as response:
            kind = response.headers.get("Content-Type", "no type")
            if response.status != 200:
                why = f"it is answered {response.status}"
            elif not kind.startswith("text/event-stream"):
                why = f"it comes as {quoted(kind)}, not as text/event-stream"
            else:
                while line := await response.content.readline():
                    if line.startswith(b"event:"):
                        event = line.removeprefix(b"event:").strip().decode("utf-8", "replace")
                        arrivals.put_nowait(Arrival(loop.time(), event))
                        if event == "end":
                            why = ""
    except NoAnswer as error:
        why = f"it {error}"
    except ValueError:  # a line that is too long
        why = "its content is not an event stream"
    arrivals.put_nowait(Arrival(loop.time(), ended=why or "end"))
