"""SIGTERM under load: the server ends in time and well, and no connection ends in the middle of an answer.

All over a Unix socket, whose buffers are small: most of a long answer is still in the server when it has to stop.
"""

import asyncio
import itertools
import json
import re
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from inbox_server.clock import system_clock
from tests.faults.clients import QuickKey
from tests.support.requests import Caller, id_of
from tests.support.serving import Deployment, deploy

SOCKET = "inbox.sock"
STOP_SECONDS = 5
SENDERS, READERS, ACKERS = 24, 12, 4
KEPT = 600
"""Entries of the inbox that is read, of 1,000 characters."""
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


@dataclass(slots=True)
class Client:
    """One connection. It sends a request when the one before it was answered, until the server closes."""

    requests: Iterator[bytes]
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """Statuses and bodies of the answers that came whole."""
    rest: bytes = b""
    """What came after them."""
    waits: bool = False

    async def work(self, place: Deployment, answered: asyncio.Semaphore) -> None:
        """Releases `answered` for each answer."""
        reader, writer = await asyncio.open_unix_connection(place.folder / SOCKET)
        try:
            for request in self.requests:
                self.waits = True
                writer.write(request)
                while not self._take():
                    received = await reader.read(65_536)
                    if not received:
                        return
                    self.rest += received
                self.waits = False
                answered.release()
        except ConnectionError:  # closed, with a request under way
            pass
        finally:
            writer.close()

    def _take(self) -> bool:
        """Take the answer that `rest` begins with, once it is whole."""
        head, end, rest = self.rest.partition(b"\r\n\r\n")
        taken = _body(head, rest) if end else None
        if taken is None:
            return False
        body, self.rest = taken
        self.answers.append((int(head.split(b" ")[1]), body))
        return True


def _body(head: bytes, rest: bytes) -> tuple[bytes, bytes] | None:
    """The body, and what comes after it; None while it is not whole."""
    if b"\r\nTransfer-Encoding: chunked" in head:
        return _chunks(rest)
    match = LENGTH.search(head + b"\r\n")
    length = int(match[1]) if match else 0
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def _chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        size, line, rest = rest.partition(b"\r\n")
        length = int(size, 16) if line else 0
        if not line or len(rest) < length + 2:
            return None
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, rest


def _deploy(folder: Path) -> Deployment:
    return deploy(folder / "inbox", server__listen=f"unix:{SOCKET}")


def _session(place: Deployment) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place.folder / SOCKET), limit=32))


def _request(method: str, path: str, caller: Caller, token: str, body: bytes = b"") -> bytes:
    host = caller.url.removeprefix("http://")
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _deliveries(owner: Caller, name: str) -> Iterator[bytes]:
    sender = _caller(owner.session, owner.url)
    for number in itertools.count():
        body = json.dumps({"message_id": f"{name}-{number}"}).encode()
        token = sender.deliver_token(body, sender.key.public, owner.key.address)
        yield _request("POST", "/v1/messages", owner, token, body)


def _lists(owner: Caller) -> Iterator[bytes]:
    return itertools.repeat(_request("GET", "/v1/messages?limit=1000", owner, owner.owner_token("read")))


def _acks(owner: Caller, ids: list[str]) -> Iterator[bytes]:
    for id in ids:
        body = json.dumps({"ids": [id]}).encode()
        yield _request("POST", "/v1/messages/ack", owner, owner.owner_token("ack", body), body)


def _caller(session: aiohttp.ClientSession, url: str) -> Caller:
    return Caller(session, url, QuickKey(secrets.token_bytes(32)), system_clock)


async def _claimed(session: aiohttp.ClientSession, url: str) -> Caller:
    owner = _caller(session, url)
    assert (await owner.claim({"accept": "anyone"})).status == 201
    return owner


async def _fill(owner: Caller) -> list[str]:
    """The ids of what is there then."""
    texts = [f"kept-{number}".ljust(1000, "x") for number in range(KEPT)]
    answers = await asyncio.gather(*(owner.deliver(text, recipient=owner.key.address) for text in texts))
    assert {answer.status for answer in answers} == {201}
    return [id_of(text) for text in texts]


async def _listed(owner: Caller) -> set[str]:
    """The ids of everything unread."""
    page = (await owner.unread(limit=1000)).json()
    listed = {entry["id"] for entry in page["messages"]}
    while page["more"]:
        page = (await owner.unread(limit=1000, after=page["cursor"])).json()
        listed |= {entry["id"] for entry in page["messages"]}
    return listed


async def _stop(server: asyncio.subprocess.Process) -> None:
    begun = time.monotonic()
    server.send_signal(signal.SIGTERM)
    said, _ = await asyncio.wait_for(server.communicate(), STOP_SECONDS)
    assert time.monotonic() - begun < STOP_SECONDS
    assert server.returncode == 0, said.decode()


def _ids(clients: list[Client]) -> set[str]:
    """Of what was answered to senders."""
    return {json.loads(body)["id"] for client in clients for status, body in client.answers if status == 201}


@pytest.mark.parametrize("answers", [40, 300])
async def test_a_stop_under_load_ends_every_request_cleanly(tmp_path: Path, answers: int) -> None:
    place, answered = _deploy(tmp_path), asyncio.Semaphore(0)
    async with _session(place) as session:
        async with place.running() as server:
            taking, reading = await _claimed(session, place.url), await _claimed(session, place.url)
            ids = await _fill(reading)
            senders = [Client(_deliveries(taking, f"sender-{number}")) for number in range(SENDERS)]
            readers = [Client(_lists(reading)) for _ in range(READERS)]
            ackers = [Client(_acks(reading, ids[number::ACKERS])) for number in range(ACKERS)]
            clients = [*senders, *readers, *ackers]
            working = [asyncio.create_task(client.work(place, answered)) for client in clients]
            for _ in range(answers):
                await answered.acquire()
            waiting = [client for client in clients if client.waits]
            before = [len(client.answers) for client in waiting]
            await _stop(server)
            await asyncio.wait_for(asyncio.gather(*working), STOP_SECONDS)
        assert len(waiting) > len(clients) / 2
        answered_late = [client for client, had in zip(waiting, before, strict=True) if len(client.answers) > had]
        assert len(answered_late) > len(waiting) / 2
        async with place.running():
            taken, kept = await _listed(taking), await _listed(reading)
    for client in clients:
        assert client.rest == b"", "half an answer"
        for status, body in client.answers:
            assert status in (200, 201, 204) or json.loads(body)["code"] == "stopping"
    assert _ids(senders) <= taken
    for number, acker in enumerate(ackers):
        asked = ids[number::ACKERS]
        read = {id for id, (status, _) in zip(asked, acker.answers, strict=False) if status == 204}
        under_way = set(asked[len(acker.answers) :][: acker.waits])
        assert not kept & read
        assert kept >= set(asked) - read - under_way


async def test_an_answer_that_is_half_sent_when_the_server_stops_comes_whole(tmp_path: Path) -> None:
    place = _deploy(tmp_path)
    async with _session(place) as session, place.running() as server:
        owner = await _claimed(session, place.url)
        ids = await _fill(owner)
        with socket.socket(socket.AF_UNIX) as slow:
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, str(place.folder / SOCKET))
            await loop.sock_sendall(slow, next(_lists(owner)))
            received = await loop.sock_recv(slow, 1000)
            server.send_signal(signal.SIGTERM)
            assert server.stdout
            assert await server.stdout.readline() == b"stopping\n"
            while more := await loop.sock_recv(slow, 65_536):
                received += more
        assert await asyncio.wait_for(server.wait(), STOP_SECONDS) == 0
    head, _, rest = received.partition(b"\r\n\r\n")
    taken = _body(head, rest)
    assert taken
    assert {entry["id"] for entry in json.loads(taken[0])["messages"]} == set(ids)
