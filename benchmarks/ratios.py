"""What a delivery, a poll and a page cost beside a bare handler, beside an older build, and with rate limits."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from benchmarks.builds import Build, this_build
from benchmarks.delivering import Delivering
from benchmarks.servers import UNLIMITED, Server, answer_of, ask_json, bare_server, deployment, inbox_server
from benchmarks.settling import settle, unread
from benchmarks.signing import Requests, deliveries, people, query, write_requests
from benchmarks.turns import BARE, BASE, LIMITED, NOW, Pace, compared, in_turn
from benchmarks.wrk import Run, WrongAnswers, run_wrk

CONNECTIONS: Final = 64
_OWNERS: Final = 128  # so many that no inbox reaches its hourly limit
_SENDERS: Final = 64
_READERS: Final = 64
PAGE_ENTRIES: Final = 100
_FIRST_PER_SECOND: Final = 20_000
_MARGIN: Final = 1.5  # over what the last run used; a run that uses up its requests is repeated with more


def measure_deliver(folder: Path, pace: Pace, base: Build | None) -> dict[str, Any]:
    """All-different deliveries from many senders to many inboxes. The bare server gets what ours got last."""
    builds = {NOW: this_build(), LIMITED: this_build()} | ({BASE: base} if base else {})
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(delivered(folder / name, build, {} if name == LIMITED else UNLIMITED))
            for name, build in builds.items()
        }
        bare = stack.enter_context(bare_server(folder))

        def run_bare(seconds: int) -> Run:
            return repeat(bare, servers[NOW].requests, seconds)

        found = compared(in_turn({name: each.run for name, each in servers.items()} | {BARE: run_bare}, pace))
        return found | {"stored": unread(servers[NOW].server, servers[NOW].owners)}


class Delivered:
    """A server that gets deliveries, all of them signed just before they are sent."""

    def __init__(self, server: Server, path: Path, *, receipt: bool = False, connections: int = CONNECTIONS) -> None:
        self.server, self.owners = server, people(_OWNERS)
        settle(server, self.owners)
        self.requests = Requests(path, 0, 0)
        self._endless = deliveries(people(_SENDERS), self.owners, server.url, receipt=receipt)
        self._delivering = Delivering(server, lambda: unread(server, self.owners), connections=connections)
        self._per_second: float = _FIRST_PER_SECOND

    def run(self, seconds: int) -> Run:
        """Raises `WrongAnswers`."""
        count = int(_MARGIN * seconds * self._per_second)
        while True:
            self.requests = write_requests(self.requests.path, self._endless, count)
            run = self._delivering.run(self.requests, seconds=seconds)
            if not run.ended:
                self._per_second = run.per_second
                return run
            count *= 2


@contextlib.contextmanager
def delivered(
    folder: Path, build: Build, settings: Mapping[str, Any], *, module: str = "inbox_server", receipt: bool = False
) -> Iterator[Delivered]:
    with inbox_server(deployment(folder, settings), build, module=module) as server:
        yield Delivered(server, folder / "requests", receipt=receipt)


def measure_list_empty(folder: Path, pace: Pace, base: Build | None) -> dict[str, Any]:
    """Queries after a cursor that find nothing new; each owner has one token."""
    return _measure_list(folder, pace, base, entries=1, after_cursor=True)


def measure_list_100(folder: Path, pace: Pace, base: Build | None) -> dict[str, Any]:
    """Queries for all that is unread, answered with a page of 100."""
    return _measure_list(folder, pace, base, entries=PAGE_ENTRIES, after_cursor=False)


def _measure_list(folder: Path, pace: Pace, base: Build | None, *, entries: int, after_cursor: bool) -> dict[str, Any]:
    """The bare server gets what ours gets, and answers all of it as ours answers the first one."""
    builds = {NOW: this_build()} | ({BASE: base} if base else {})
    with contextlib.ExitStack() as stack:
        sides: dict[str, Callable[[int], Run]] = {}
        for name, build in builds.items():
            server = stack.enter_context(inbox_server(deployment(folder / name), build))
            asking = queries(server, entries=entries, after_cursor=after_cursor)
            requests = write_requests(folder / f"requests-{name}", cycle(asking), 100 * _READERS)
            answer = answer_of(server, asking[0])
            sides[name] = partial(repeat, server, requests, body_bytes=len(answer["body"]))
            if name == NOW:
                bare = stack.enter_context(bare_server(folder, answer))
                if answer_of(bare, asking[0]) != answer:
                    raise WrongAnswers("the bare server does not answer the same")
                sides[BARE] = partial(repeat, bare, requests)
        return compared(in_turn(sides, pace))


def queries(server: Server, *, entries: int, after_cursor: bool) -> list[bytes]:
    """One for each of the readers, who have as many entries. Raises `WrongAnswers` unless they are found."""
    owners = people(_READERS)
    settle(server, owners, people(_SENDERS), entries=entries)
    asking = [query(owner, server.url) for owner in owners]
    if after_cursor:
        cursors = [ask_json(server, request)["cursor"] for request in asking]
        asking = [query(owner, server.url, f"?after={at}") for owner, at in zip(owners, cursors, strict=True)]
    found = len(ask_json(server, asking[0])["messages"])
    if found != (0 if after_cursor else entries):
        raise WrongAnswers(f"a page has {found} entries")
    return asking


def repeat(of: Server, requests: Requests, seconds: int, *, body_bytes: int = 0) -> Run:
    """The same requests again and again. Raises `WrongAnswers` unless answers have `body_bytes`."""
    run = run_wrk(of, requests, connections=CONNECTIONS, seconds=seconds, again=True)
    if run.bytes_each < body_bytes:
        raise WrongAnswers(f"answers have {run.bytes_each:.0f} bytes, not {body_bytes} and headers")
    return run
