"""Mosquitto with persistence: a PUBLISH of quality of service 1 for a subscriber who is away, answered by a PUBACK.

MQTT 3.1.1, because a persistent session needs nothing newer.
"""

import socket
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.load import Ask, Open
from benchmarks.peers.contract import ITEM_BYTES, RECIPIENTS, Line
from benchmarks.wrk import WrongAnswers

_ITEM: Final = b"x" * ITEM_BYTES
_CLEAN: Final = 2
_CONNECT, _CONNACK, _PUBLISH_AT_LEAST_ONCE, _PUBACK, _SUBSCRIBE, _SUBACK = 0x10, 0x20, 0x32, 0x40, 0x82, 0x90
_PACKET: Final = b"\x00\x01"  # one is under way at a time, so that all may have one number


class Mosquitto:
    """All items are kept for one reader; nothing limits how many may wait."""

    name = "Mosquitto, QoS 1, persistence"
    program = "mosquitto"
    package = "mosquitto (apt install mosquitto)"

    def __init__(self, promise: str) -> None:
        self.promise = promise

    def version(self, program: Path) -> list[str]:
        return [str(program), "-h"]

    def command(self, program: Path, folder: Path, port: int) -> list[str]:
        config = folder / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        lines += [f"persistence_location {folder}/", "max_queued_messages 0", "max_queued_bytes 0", "user root"]
        config.write_text("\n".join([*lines, ""]))
        return [str(program), "-c", str(config)]

    def settle(self, port: int) -> None:
        """The reader subscribes, and goes away."""
        line = Line(port)
        line.ask(connect(b"reader", clean=False), _connected)
        filters = _PACKET + text(b"in/#") + b"\x01"
        line.ask_and_close(packet(_SUBSCRIBE, filters), lambda heard: heard[:1] == bytes([_SUBACK]) and len(heard) == 5)

    def opening(self, port: int) -> Open:
        def opened(number: int) -> socket.socket:
            line = Line(port)
            line.ask(connect(b"sender-%d" % number, clean=True), _connected)
            return line.socket

        return opened

    def requests(self, port: int, seconds: float) -> Ask:  # noqa: ARG002 — all are alike
        asked = [packet(_PUBLISH_AT_LEAST_ONCE, text(b"in/%d" % n) + _PACKET + _ITEM) for n in range(RECIPIENTS)]
        turn = count()
        return lambda _: asked[next(turn) % RECIPIENTS]

    def whole(self, answer: bytes) -> bool:
        if answer[0] != _PUBACK:
            raise WrongAnswers(repr(answer))
        return len(answer) == 4

    def kept(self, port: int) -> None:  # noqa: ARG002 — it cannot be asked
        return None


def connect(name: bytes, *, clean: bool) -> bytes:
    return packet(_CONNECT, text(b"MQTT") + bytes([4, _CLEAN * clean, 0, 0]) + text(name))


def _connected(heard: bytes) -> bool:
    if len(heard) == 4 and heard[3]:
        raise ConnectionError(f"refused with {heard[3]}")
    return len(heard) == 4 and heard[0] == _CONNACK


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def packet(kind: int, rest: bytes) -> bytes:
    """Its length comes in groups of seven bits, the lowest first."""
    length, size = b"", len(rest)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([kind]) + length + bytes([size]) + rest
