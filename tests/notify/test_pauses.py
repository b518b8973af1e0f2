"""Pauses between notifications hold for all server processes of a host."""

import math

import pytest

from inbox_server.notify.pauses import Pauses
from inbox_server.notify.schedule import Pace, Schedule
from tests.notify.test_schedule import BOB, PAUSE, TOLD, Recorder, settled
from tests.support.canary import HandMonotonic


def begin(pauses: Pauses, *, news: float, now: float, channel: str = "push", about: bytes = BOB) -> float:
    return pauses.begin(channel, about, news=news, now=now, pause=PAUSE)


def test_one_sends_and_the_others_wait_for_its_pause() -> None:
    pauses = Pauses()
    assert begin(pauses, news=100, now=100) == 0
    assert begin(pauses, news=101, now=110) == pytest.approx(PAUSE - 10)
    assert begin(pauses, news=101, now=100 + PAUSE) == 0


def test_what_came_before_another_process_sent_needs_no_notification_of_its_own() -> None:
    pauses = Pauses()
    assert begin(pauses, news=90, now=100) == 0
    assert begin(pauses, news=99, now=100) == math.inf
    assert begin(pauses, news=99, now=100 + 10 * PAUSE) == math.inf


def test_each_channel_and_each_subject_has_pauses_of_its_own() -> None:
    pauses = Pauses()
    assert [begin(pauses, news=1, now=1, channel=name) for name in ("push", "matrix")] == [0, 0]
    assert begin(pauses, news=1, now=1, about=b"another inbox's.") == 0


def test_many_thousand_subjects_are_remembered() -> None:
    pauses, subjects = Pauses(), [number.to_bytes(16, "big") for number in range(16_384)]
    assert {begin(pauses, news=1, now=1, about=each) for each in subjects} == {0}
    assert 0 not in {begin(pauses, news=2, now=2, about=each) for each in subjects}


async def test_two_processes_send_one_notification_a_pause() -> None:
    monotonic, pauses = HandMonotonic(), Pauses()
    channels = Recorder(), Recorder()

    def schedule(channel: Recorder, jitter: float) -> Schedule:
        return Schedule(
            [channel],
            lambda: Pace(PAUSE, jitter),
            random_bytes=lambda size: b"\x80" + bytes(size - 1),  # half of the jitter
            monotonic=monotonic,
            pauses=pauses,
        )

    async with schedule(channels[0], 0) as first, schedule(channels[1], 20) as second:
        first.soon(BOB, TOLD)
        second.soon(BOB, TOLD)  # due in 10 s
        assert await settled(first, channels[0]) == [BOB]
        monotonic.advance(5)
        second.soon(BOB, TOLD)  # news since then: the pause has to pass, and some jitter
        monotonic.advance(10)
        assert await settled_later(second, channels[1], monotonic) == []
        monotonic.advance(PAUSE)
        assert await settled_later(second, channels[1], monotonic) == [BOB]
        assert await settled(first, channels[0]) == [BOB]


async def settled_later(schedule: Schedule, channel: Recorder, monotonic: HandMonotonic) -> list[bytes]:
    """What this process sent."""
    last = b"sent last %d" % len(channel.told)
    schedule.soon(last, TOLD)
    monotonic.advance(10)
    await channel.once_told(len(channel.told) + 1)
    return [inbox for inbox in channel.told if not inbox.startswith(b"sent last")]
