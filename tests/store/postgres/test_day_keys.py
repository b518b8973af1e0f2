"""Day keys: each host has the same, none can go back, and a power cut never leaves a file that cannot be read."""

import json
import os
from pathlib import Path

import pytest

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.errors import Unavailable
from inbox_server.protocol.base64url import encode
from inbox_server.store.postgres.day_keys import BadDayKeys, DayKeys, KeyGone, make_day_keys
from inbox_server.store.postgres.sealing import MORE_BYTES, Sealing
from tests.conftest import START
from tests.support.stores import STORES, claimed_box

STATE = bytes(range(32))
INBOX, ID = b"an inbox, hashed", b"the SHA-256 of the opaque text.."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_day_keys(tmp_path / "day-keys", 20_000, STATE)
    return tmp_path / "day-keys"


def test_two_hosts_have_the_same_keys_however_they_moved_on(path: Path) -> None:
    other = path.with_name("of another host")
    other.write_bytes(path.read_bytes())
    here, there = DayKeys(path), DayKeys(other)
    for day in (20_001, 20_002, 20_007):
        here.move_on(day)
    there.move_on(20_007)
    assert here.key(20_100) == there.key(20_100) == DayKeys(path).key(20_100)
    assert path.read_bytes() == other.read_bytes()


def test_a_day_that_is_over_has_no_key_any_more(path: Path) -> None:
    keys = DayKeys(path)
    old = keys.key(20_000)
    keys.move_on(20_001)
    for each in (keys, DayKeys(path)):
        with pytest.raises(KeyGone):
            each.key(20_000)
        with pytest.raises(KeyGone):
            each.check(20_000)
        assert each.key(20_001) != old
    keys.move_on(20_000)  # a clock that was set back
    assert keys.day == 20_001


def test_nothing_of_the_state_before_stays_in_the_file(path: Path) -> None:
    before, inode = path.read_bytes(), path.stat().st_ino
    DayKeys(path).move_on(20_001)
    assert path.stat().st_ino == inode  # written over in place
    assert STATE.hex().encode() in before
    assert STATE.hex().encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_write_that_a_power_cut_tore_leaves_the_other_copy(path: Path, spoilt: int) -> None:
    keys = DayKeys(path).key(20_050)
    with path.open("r+b") as file:
        file.seek(spoilt * 4096 + 20)
        file.write(os.urandom(30))
    assert DayKeys(path).key(20_050) == keys


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"20000 zz 00", b"hello\n" * 2000])
def test_a_file_without_a_state_is_refused_with_advice(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadDayKeys, match="from another host"):
        DayKeys(path)


def opened(sealing: Sealing, body: bytes, inbox: bytes = INBOX, day: int = 20_030) -> bytes:
    return sealing.open_body(inbox, ID, day, body)


def test_a_text_is_opened_only_in_its_place_and_before_its_day_is_over(path: Path) -> None:
    sealing = Sealing(DayKeys(path))
    body = sealing.seal(INBOX, ID, 20_030, 'an "opaque" text')
    assert len(body) == MORE_BYTES + len('an \\"opaque\\" text')
    assert opened(sealing, body) == encode(ID).encode() + b'","message_id":"an \\"opaque\\" text'
    assert body != sealing.seal(INBOX, ID, 20_030, 'an "opaque" text')
    without = encode(ID).encode() + b'","message_id":"'
    assert opened(sealing, body, inbox=INBOX[::-1]) == without
    assert opened(sealing, body, day=20_031) == without
    sealing.move_on(20_031)
    assert opened(sealing, body) == without


@pytest.mark.parametrize("text", ["", "x" * 1024, '"' * 512, '"' * 1024, "\\" * 513])
def test_the_longest_text_fits_also_when_each_character_needs_an_escape(path: Path, text: str) -> None:
    sealing = Sealing(DayKeys(path))
    listed = opened(sealing, sealing.seal(INBOX, ID, 20_030, text))
    assert json.loads(b'{"id":"' + listed + b'"}') == {"id": encode(ID), "message_id": text}


@pytest.mark.postgres
async def test_a_host_whose_clock_was_ahead_for_a_day_takes_nothing_until_then(tmp_path: Path) -> None:
    """Its keys have moved on, and cannot go back; what is refused for now is not refused for good."""
    async with claimed_box(tmp_path, kind=STORES["postgres"]) as box:
        day_ahead = UnixTime(START + 2 * DAY_SECONDS)
        await box.store.sweep(day_ahead)
        with pytest.raises(Unavailable) as raised:
            await box.deliver("opaque")
        assert raised.value.code == "clock_jumped"
        assert (await box.deliver("another", life=3 * DAY_SECONDS)).new
