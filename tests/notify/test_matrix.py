"""The Matrix bot beside a home server that a test directs: what it posts, when it rests, what it makes of refusals."""

import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inbox_server.clock import DAY_SECONDS
from inbox_server.config.file import parse_config
from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.notify import matrix
from inbox_server.notify.channel import TEXT, Address, Stopped
from inbox_server.notify.matrix import MAX_ROOM_CHARACTERS, Matrix
from inbox_server.outgoing.exchange import MAX_ANSWER_BYTES
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable, open_fetcher
from tests.conftest import HandClock
from tests.support.canary import HandMonotonic
from tests.support.home_servers import BOT, TOKEN, HomeServer, Room, running_home_server

PAUSE = 30
CHAT = Address("!a-direct-chat")
LINE = {"msgtype": "m.text", "body": TEXT.decode()}
LIMITED = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests"}


@dataclass(slots=True)
class Scene:
    home: HomeServer
    fetcher: Fetcher
    clock: HandClock
    monotonic: HandMonotonic = field(default_factory=HandMonotonic)
    rests: list[float] = field(default_factory=list)
    patience: int = 1
    """After how many rests the home server takes requests again."""

    def bot(self, *, secret: bytes = bytes(32), token: str = TOKEN) -> Matrix:
        """One in a new process: nothing in memory."""
        document = {
            "server": {"public_url": "https://inbox.example"},
            "notify": {"pause_seconds": PAUSE, "matrix": {"homeserver": self.home.url, "user_id": BOT}},
        }
        api = matrix.HomeServer(self.fetcher, self.home.url, token)
        return Matrix(
            api,
            parse_config(document, Path("/")),
            KeyedHash(secret),
            clock=self.clock,
            monotonic=self.monotonic,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.monotonic.advance(seconds)
        if len(self.rests) >= self.patience:
            self.home.trouble = None

    async def chat(self, bot: Matrix) -> Room:
        """One that the bot has joined."""
        room = self.home.room(CHAT.where)
        await bot.admit(CHAT)
        return room


@pytest.fixture
async def scene(clock: HandClock) -> AsyncIterator[Scene]:
    async with running_home_server() as home, open_fetcher(allow=frozenset(), keep=False) as fetcher:
        yield Scene(home, fetcher, clock)


async def test_an_invited_bot_joins_and_posts_one_constant_line(scene: Scene) -> None:
    bot = scene.bot()
    room = await scene.chat(bot)
    assert BOT in room.members
    await bot.tell(CHAT)
    assert room.lines == [LINE]


async def test_a_restart_within_the_pause_posts_nothing_again_and_the_next_pause_does(scene: Scene) -> None:
    bot = scene.bot()
    room = await scene.chat(bot)
    await bot.tell(CHAT)
    scene.clock.advance(PAUSE - 1 - scene.clock() % PAUSE)
    await scene.bot().tell(CHAT)
    assert len(room.lines) == 1
    scene.clock.advance(PAUSE)
    await scene.bot().tell(CHAT)
    assert len(room.lines) == 2


async def test_marks_of_messages_tell_rooms_times_and_servers_apart_and_show_nothing(scene: Scene) -> None:
    other = Address("!another")
    for secret in (bytes(32), b"\1" * 32):
        bot = scene.bot(secret=secret)
        for address in (CHAT, other):
            scene.home.room(address.where).invited.add(BOT)
            await bot.admit(address)
            await bot.tell(address)
    marks = [mark for room in scene.home.rooms.values() for mark in room.transactions]
    assert len({*marks}) == 4
    assert {len(mark) for mark in marks} == {32}


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (None, "is not known"),
        (Room(invited=set()), f"{BOT} is not invited: invite it"),
        (Room(banned={BOT}), "banned"),
        (Room(members={"@bob:matrix.example", "@carol:matrix.example"}), "must have two members"),
        (Room(members=set()), "must have two members"),
    ],
)
async def test_a_room_that_cannot_be_told_is_refused_in_words(scene: Scene, room: Room | None, words: str) -> None:
    if room:
        scene.home.rooms[CHAT.where] = room
    with pytest.raises(Refused, match="bad_request") as refusal:
        await scene.bot().admit(CHAT)
    assert refusal.value.member == "room"
    assert words in refusal.value.detail
    assert CHAT.where not in refusal.value.detail
    assert room is None or BOT not in room.members  # it does not stay where it is of no use


async def test_a_room_of_very_many_is_no_direct_chat(scene: Scene) -> None:
    room = scene.home.room(CHAT.where)
    room.members = {f"@somebody-{number}:matrix.example" for number in range(MAX_ANSWER_BYTES // 50)}
    with pytest.raises(Refused) as refusal:
        await scene.bot().admit(CHAT)
    assert "must have two members" in refusal.value.detail
    assert BOT not in room.members


@pytest.mark.parametrize(
    "room", ["", "!", "#inbox:matrix.example", "@bob:matrix.example", "! x", "!ü", "!" + "x" * 255]
)
def test_what_is_no_room_id_is_refused_before_anybody_is_asked(scene: Scene, room: str) -> None:
    with pytest.raises(Refused, match="bad_request"):
        scene.bot().parse(f'{{"room": "{room}"}}'.encode())
    assert scene.home.asked == []


async def test_a_room_id_may_hold_what_means_something_in_a_path(scene: Scene) -> None:
    bot, address = scene.bot(), Address("!a/../b?c#d%2e:matrix.example")
    room = scene.home.room(address.where)
    await bot.admit(address)
    await bot.tell(address)
    assert room.lines == [LINE]
    longest = "!" + "x" * (MAX_ROOM_CHARACTERS - 1)
    assert bot.parse(f'{{"room": "{longest}"}}'.encode()) == Address(longest)


async def test_the_members_are_looked_at_once_a_day_and_after_a_restart(scene: Scene) -> None:
    bot = scene.bot()
    await scene.chat(bot)
    for _ in range(5):
        await bot.tell(CHAT)
        scene.monotonic.advance(DAY_SECONDS / 5)
        scene.clock.advance(DAY_SECONDS // 5)
    assert scene.home.count("joined_members") == 2
    await bot.tell(CHAT)
    assert scene.home.count("joined_members") == 3
    await scene.bot().tell(CHAT)
    assert scene.home.count("joined_members") == 4


async def test_a_bot_that_was_left_alone_or_is_one_of_three_leaves_and_says_so(scene: Scene) -> None:
    for members in ({BOT}, {BOT, "@bob:matrix.example", "@carol:matrix.example"}):
        bot = scene.bot()
        room = scene.home.room(CHAT.where)
        room.members = members
        with pytest.raises(Absent):
            await bot.tell(CHAT)
        assert BOT not in room.members
        assert room.lines == []


async def test_a_room_that_the_bot_was_put_out_of_is_gone(scene: Scene) -> None:
    bot = scene.bot()
    room = await scene.chat(bot)
    await bot.tell(CHAT)
    room.members.discard(BOT)
    with pytest.raises(Absent):
        await bot.tell(CHAT)


@pytest.mark.parametrize(
    ("answer", "headers", "rest"),
    [
        ({**LIMITED, "retry_after_ms": 4320}, {"Retry-After": "5"}, 4.32),
        (LIMITED, {"Retry-After": "7"}, 7),
        (LIMITED, {}, 30),
        ({**LIMITED, "retry_after_ms": 86_400_000}, {}, 3600),
        ({**LIMITED, "retry_after_ms": -5}, {}, 0.1),
        ("slow down, says a proxy", {}, 30),
    ],
)
async def test_the_bot_rests_as_a_whole_for_as_long_as_it_is_told(
    scene: Scene, answer: Any, headers: dict[str, str], rest: float
) -> None:
    bot = scene.bot()
    room = await scene.chat(bot)
    scene.home.trouble, scene.home.headers = (429, answer), headers
    await bot.tell(CHAT)
    assert scene.rests == [pytest.approx(rest)]
    assert room.lines == [LINE]
    scene.home.trouble = (429, answer)
    with pytest.raises(Unavailable) as refusal:
        await bot.admit(CHAT)
    scene.home.trouble = None
    scene.clock.advance(PAUSE)
    await bot.tell(CHAT)  # joining has a limit of its own: whoever tries to join often holds up no line
    assert (len(scene.rests), len(room.lines)) == (1, 2)
    asked = len(scene.home.asked)
    with pytest.raises(Unavailable):  # without asking: it would only make the rest longer
        await bot.admit(Address("!another"))
    assert (refusal.value.code, refusal.value.retry_after) == ("channel_unavailable", math.ceil(rest))
    assert len(scene.home.asked) == asked


async def test_a_home_server_that_never_has_time_loses_one_line_and_not_the_queue(scene: Scene) -> None:
    bot = scene.bot()
    room = await scene.chat(bot)
    scene.home.trouble, scene.patience = (429, LIMITED), 3
    with pytest.raises(Unreachable):
        await bot.tell(CHAT)
    await bot.tell(CHAT)
    assert room.lines == [LINE]


@pytest.mark.parametrize(
    "answer",
    [
        (403, "<html>a proxy's page</html>"),
        (403, {"errcode": "M_CONSENT_NOT_GIVEN"}),
        (403, {}),
        (404, {"errcode": "M_UNRECOGNIZED"}),
        (401, "who are you?"),
        (200, "[]"),
        (200, {}),
        (200, {"joined": []}),
        (302, ""),
        (502, "<html>Bad Gateway</html>"),
        (200, "x" * (MAX_ANSWER_BYTES + 1)),
    ],
)
async def test_only_matrix_own_word_drops_a_room(scene: Scene, answer: tuple[int, Any]) -> None:
    """What a proxy says, or a home server in trouble, loses the line and nothing else."""
    room = scene.home.room(CHAT.where)
    await scene.bot().admit(CHAT)
    scene.home.trouble = answer
    with pytest.raises(Unreachable):
        await scene.bot().tell(CHAT)
    scene.home.trouble = None
    await scene.bot().tell(CHAT)
    assert room.lines == [LINE]


async def test_a_bot_that_the_home_server_does_not_know_stops_and_tells_the_operator(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    bot = scene.bot(token="syt_another")
    with caplog.at_level(logging.ERROR, logger=matrix.__name__), pytest.raises(Stopped):
        await bot.tell(CHAT)
    with pytest.raises(Stopped):
        await bot.tell(CHAT)
    with pytest.raises(Unavailable) as refusal:
        await bot.admit(CHAT)
    assert "operator" in refusal.value.detail
    assert scene.home.asked == [f"GET /_matrix/client/v3/rooms/{CHAT.where}/joined_members"]
    (said,) = caplog.messages
    assert "M_UNKNOWN_TOKEN" in said
    assert "syt_" not in said + repr(bot)


async def test_a_home_server_that_is_down_is_told_to_the_owner(scene: Scene) -> None:
    scene.home.trouble = (503, "")
    with pytest.raises(Unavailable) as refusal:
        await scene.bot().admit(CHAT)
    assert refusal.value.code == "channel_unavailable"
    assert "cannot be asked now" in refusal.value.detail
