"""`benchmarks/peers`: each server that this machine has takes items, keeps them and is ended; others are left out."""

import tempfile
from itertools import count
from pathlib import Path

import pytest

from benchmarks.load import as_fast_as_possible
from benchmarks.peers.contract import Peer
from benchmarks.peers.measure import every_peer, find, measure_peers, running, table
from benchmarks.peers.mosquitto import Mosquitto, packet
from benchmarks.peers.nats import Nats
from benchmarks.peers.ours import Ours
from benchmarks.peers.postgres import Postgres
from benchmarks.peers.redis import Redis
from benchmarks.wrk import WrongAnswers


@pytest.mark.long
@pytest.mark.parametrize("peer", [peer for peer in every_peer() if find(peer.program)], ids=lambda peer: peer.name)
def test_what_a_peer_acknowledges_it_has(peer: Peer) -> None:
    program, asked = find(peer.program), count(1)
    assert program
    # Not in tmp_path: PostgreSQL does not run as root, and only root gets through to there.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with running(peer, program, Path(name) / "peer") as up:
            ask = peer.requests(up.port, 1)

            def ask_twenty(number: int) -> bytes:
                return ask(number) if next(asked) <= 20 else b""

            load = as_fast_as_possible(peer.opening(up.port), ask_twenty, peer.whole, at_once=3, seconds=9)
            assert len(load.taken_ms) == 20
            assert peer.kept(up.port) in (20, None)
    assert not Path(f"/proc/{up.pid}").exists()


@pytest.mark.long
def test_a_peer_that_is_not_installed_is_left_out_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Redis("always", "nothing")
    absent.program = "there-is-no-such-program"
    nats = Nats(None, "in the system's memory")
    found = measure_peers([absent, nats], tmp_path, seconds=0.2, rounds=1)
    assert "appendfsync always is left out: there is no there-is-no-such-program" in capsys.readouterr().out
    [_, row] = table(found)
    assert row[0].startswith("NATS JetStream, as it comes (2.")
    assert found[nats.name]["at_64"]["per_second"] > 0


ANSWERS = {
    Ours(""): b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"id":1}',
    Postgres(""): b"2\x00\x00\x00\x04C\x00\x00\x00\x0fINSERT 0 1\x00Z\x00\x00\x00\x05I",
    Redis("always", ""): b"$15\r\n1700000000000-0\r\n",
    Nats(None, ""): b'MSG reply.1 1 29\r\n{"stream":"in", "seq":123456}\r\n',
    Mosquitto(""): b"\x40\x02\x00\x01",
}
REFUSALS = {
    Ours(""): b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}",
    Postgres(""): b"E\x00\x00\x00\x10SERROR\x00C53100\x00",
    Redis("always", ""): b"-OOM command not allowed\r\n",
    Nats(None, ""): b'MSG reply.1 1 54\r\n{"error":{"code":503,"description":"maximum messages"}}\r\n',
    Mosquitto(""): b"\xe0\x00",
}


@pytest.mark.parametrize("peer", ANSWERS, ids=lambda peer: peer.name)
def test_an_answer_that_comes_in_parts_is_whole_at_its_end(peer: Peer) -> None:
    answer = ANSWERS[peer]
    assert [peer.whole(answer[:size]) for size in range(1, len(answer) + 1)] == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize("peer", REFUSALS, ids=lambda peer: peer.name)
def test_a_refusal_is_no_acknowledgement(peer: Peer) -> None:
    with pytest.raises(WrongAnswers):
        peer.whole(REFUSALS[peer])


@pytest.mark.parametrize(("size", "length"), [(0, "00"), (127, "7f"), (128, "8001"), (909, "8d07"), (16_384, "808001")])
def test_the_length_of_an_mqtt_packet_is_in_groups_of_seven_bits(size: int, length: str) -> None:
    assert packet(0x32, bytes(size)) == bytes.fromhex(f"32{length}") + bytes(size)
