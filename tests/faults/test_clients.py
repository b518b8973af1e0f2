"""Clients that leave in mid-request, and more connections than the process may open files."""

import asyncio
import contextlib
import itertools
import json
import resource
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from inbox_server.clock import system_clock
from inbox_server.world.local_world import World
from inbox_server.world.people import make_person
from tests.conftest import APP
from tests.faults.probes import connections, cpu_seconds, deploy_watched, listed, said_when_stopped, until
from tests.support.hosts import Host, running_host
from tests.support.requests import Answer, Caller, at, caller, check_problem, id_of, inbox_server, new_key
from tests.support.serving import client_session

MOST_FILES = 64  # a server that nobody talks to has about twenty open
CROWDED_SECONDS = 1
EACH = 15  # clients that leave at the same place
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close(2) sends RST


def _pieces(sender: Caller, recipient: str, text: str) -> tuple[bytes, bytes]:
    """Head and body of a delivery, as they go over the wire."""
    body = json.dumps({"message_id": text}).encode()
    token = sender.deliver_token(body, sender.key.public, recipient)
    host = sender.url.removeprefix("http://")
    head = f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body


async def _leave(sender: Caller, recipient: str, text: str, place: str, *, reset: bool) -> None:
    """Begin a delivery and go away at `place`: with a RST, or with a FIN."""
    head, body = _pieces(sender, recipient, text)
    sent = {
        "in the headers": head[: len(head) // 2],
        "before the body": head,
        "in the body": head + body[: len(body) // 2],
        "before the answer": head + body,
    }[place]
    _, writer = await asyncio.open_connection("127.0.0.1", int(sender.url.rpartition(":")[2]))
    writer.write(sent)
    await writer.drain()
    await asyncio.sleep(0)
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()


LEAVING = list(
    itertools.product(
        ("in the headers", "before the body", "in the body", "before the answer"), (False, True), range(EACH)
    )
)


async def _all_leave(sender: Caller, recipient: str) -> list[str]:
    """Many clients leave at once, at every place and in both ways; what they delivered, or not."""
    texts = [f"{place}, {'reset' if reset else 'closed'}, {number}" for place, reset, number in LEAVING]
    await asyncio.gather(
        *(
            _leave(sender, recipient, text, place, reset=reset)
            for text, (place, reset, _) in zip(texts, LEAVING, strict=True)
        )
    )
    return texts


async def test_a_delivery_whose_client_left_is_there_whole_or_not_at_all(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    watched = deploy_watched(tmp_path / "inbox")
    owner = Caller(session, watched.place.url, new_key(), system_clock)
    sender, recipient = at(owner), owner.key.address
    async with watched.place.running() as process:
        assert (await owner.claim({"accept": "anyone"})).status == 201
        before = connections(watched.place.port)
        texts = await _all_leave(sender, recipient)

        async def has_closed_all() -> bool:
            return connections(watched.place.port) <= before

        await until(has_closed_all, within_seconds=5)
        there = await listed(owner)
        assert len(there) == len(set(there))
        answers = await asyncio.gather(*(sender.deliver(text, recipient=recipient) for text in texts))
        for text, answer in zip(texts, answers, strict=True):
            if text in there:
                assert text.startswith("before the answer")
                assert answer.status == 200
            else:  # a whole request may have been written since
                assert answer.status == 201 or (answer.status == 200 and text.startswith("before the answer"))
        assert sorted(await listed(owner)) == sorted(texts)
        assert await said_when_stopped(process) == ["stopping"]


async def test_clients_that_left_leave_no_task_and_no_file_behind(world: World) -> None:
    owner = caller(world)
    await owner.claim({"accept": "anyone"})
    before = _tasks_and_files()

    async def are_gone() -> bool:
        return all(now <= then for now, then in zip(_tasks_and_files(), before, strict=True))

    await _all_leave(at(owner), owner.key.address)
    assert not await are_gone()

    await until(are_gone, within_seconds=5)


def _tasks_and_files() -> tuple[int, int]:
    """Of this process, in which server and clients are."""
    return len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_who_leaves_while_a_name_is_looked_up_has_delivered_once(world: World, tmp_path: Path) -> None:
    person = make_person("alice.id", APP, secrets.token_bytes)
    async with running_host() as host, inbox_server(world, tmp_path / "other", _asking(host)) as owner:
        host.put_person(person, stated_key=person.app_key.public)
        await owner.claim()
        sender = at(owner, person.app_key)

        async def deliver() -> Answer:
            return await sender.deliver("opaque", sender="alice.id", recipient=owner.key.address)

        host.gate.clear()
        leaving = [asyncio.create_task(deliver()) for _ in range(5)]

        async def is_asked() -> bool:
            return bool(host.asked)

        await until(is_asked, within_seconds=5)
        for each in leaving:
            each.cancel()
        await asyncio.wait(leaving)
        host.gate.set()
        assert (await deliver()).status in (200, 201)
        assert (await deliver()).status == 200
        assert await owner.texts() == ["opaque"]
        assert len(host.asked) == 2  # one look-up: the name, and its profile


def _asking(host: Host) -> dict[str, dict[str, Any]]:
    return {
        "names": {"services": [host.url]},
        "registration": {"mode": "open", "open_to_keys": True},
        "outgoing": {"allow": [host.url]},
    }


# Too many open files.


@contextlib.asynccontextmanager
async def _crowded(process: asyncio.subprocess.Process, port: int) -> AsyncIterator[None]:
    """So many connections that the server may open no file more; it hangs up on who comes then."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (MOST_FILES, hard))
    crowd = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(2 * MOST_FILES)))

    async def is_full() -> bool:
        return any(reader.at_eof() for reader, _ in crowd)

    await until(is_full, within_seconds=5)
    try:
        yield
    finally:
        for _, writer in crowd:
            writer.close()

    async def has_room() -> bool:
        return connections(port) <= 1  # the test's own

    await until(has_room, within_seconds=5)


async def test_with_too_many_open_files_it_goes_on_for_who_is_connected_and_then_for_all(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    watched = deploy_watched(tmp_path / "inbox")
    owner = Caller(session, watched.place.url, new_key(), system_clock)
    sender, recipient = at(owner), owner.key.address
    async with watched.place.running() as process:
        await owner.claim({"accept": "anyone"})
        assert (await sender.deliver("before", recipient=recipient)).status == 201
        async with _crowded(process, watched.place.port):
            used = cpu_seconds(process)
            await asyncio.sleep(CROWDED_SECONDS)
            assert cpu_seconds(process) - used < CROWDED_SECONDS / 2
            assert (await sender.deliver("meanwhile", recipient=recipient)).status == 201
            assert (await owner.acknowledge(id_of("before"))).status == 204
        async with client_session() as newcomers:
            newcomer = replace(sender, session=newcomers)
            answers = await asyncio.gather(*(newcomer.deliver(f"{n}", recipient=recipient) for n in range(5)))
        assert [answer.status for answer in answers] == [201] * 5
        assert await said_when_stopped(process, kill=True) == []
    async with watched.place.running():
        assert sorted(await listed(owner)) == ["0", "1", "2", "3", "4", "meanwhile"]


async def test_a_name_that_cannot_be_looked_up_for_want_of_files_is_refused_for_now(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """And the want of files is not held against the name service."""
    async with running_host() as host:
        watched = deploy_watched(tmp_path / "inbox", names__services=[host.url])
        owner = Caller(session, watched.place.url, new_key(), system_clock)
        sender = at(owner)
        async with watched.place.running() as process:
            await owner.claim({"accept": "anyone"})
            async with _crowded(process, watched.place.port):
                for number in range(6):
                    answer = await sender.deliver("one", sender=f"no{number}.id", recipient=owner.key.address)
                    check_problem(answer, "names_unavailable")
            assert host.asked == []
            answer = await sender.deliver("one", sender="nobody.id", recipient=owner.key.address)
            check_problem(answer, "name_unproven")
            assert host.asked == ["/v1/names/nobody.id"]
            assert await said_when_stopped(process) == ["stopping"]
