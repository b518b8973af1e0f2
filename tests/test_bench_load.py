"""The load generator of `benchmarks/load.py`, beside servers that answer late, wrongly or not at all."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from math import inf

import pytest

from benchmarks.load import as_fast_as_possible, offered
from benchmarks.wrk import WrongAnswers

Open = Callable[[int], socket.socket]


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket, int], None]) -> Iterator[Open]:
    """A server that takes one connection and calls `answer` for each byte it gets, with the number of the byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                number = 0
                while heard := connection.recv(1):
                    assert heard == b"?"
                    answer(connection, number)
                    number += 1

        thread = threading.Thread(target=serve)
        thread.start()
        yield lambda _: socket.create_connection(listener.getsockname())
        thread.join()


def asking(most: float = inf) -> Callable[[int], bytes]:
    asked = count(1)
    return lambda _: b"?" if next(asked) <= most else b""


def yes(answer: bytes) -> bool:
    if answer[:1] != b"!":
        raise WrongAnswers(answer.decode())
    return len(answer) == 2


def test_each_request_is_answered_once_in_parts_or_whole() -> None:
    def answer(connection: socket.socket, _: int) -> None:
        connection.sendall(b"!")
        connection.sendall(b".")

    with answering(answer) as opening:
        load = offered(opening, [b"?"] * 50, yes, at_once=1, per_second=1_000)
        assert len(load.taken_ms) == 50


def test_it_ends_with_the_requests_or_with_the_time() -> None:
    with answering(lambda connection, _: connection.sendall(b"!.")) as opening:
        assert len(as_fast_as_possible(opening, asking(7), yes, at_once=1, seconds=60).taken_ms) == 7
    with answering(lambda connection, _: connection.sendall(b"!.")) as opening:
        assert len(as_fast_as_possible(opening, asking(), yes, at_once=1, seconds=0.0).taken_ms) == 1


def test_who_waits_behind_a_stall_is_counted_from_when_it_was_due() -> None:
    """The server stalls at the first one until all others were due long ago. Timed from the sending, they are quick."""
    stall = threading.Event()

    def answer(connection: socket.socket, number: int) -> None:
        if number == 0:
            stall.wait(0.3)
        connection.sendall(b"!.")

    with answering(answer) as opening:
        load = offered(opening, [b"?"] * 20, yes, at_once=1, per_second=1_000)
    assert len([taken for taken in load.taken_ms if taken > 100]) > 10


def test_wrong_answers_and_closed_connections_are_noticed() -> None:
    with (
        answering(lambda connection, _: connection.sendall(b"-no")) as opening,
        pytest.raises(WrongAnswers, match="-no"),
    ):
        as_fast_as_possible(opening, asking(), yes, at_once=1, seconds=60)

    def hang_up(connection: socket.socket, _: int) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with answering(hang_up) as opening, pytest.raises(WrongAnswers, match="closed a connection"):
        as_fast_as_possible(opening, asking(), yes, at_once=1, seconds=60)
