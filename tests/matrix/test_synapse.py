"""The Matrix bot at a real home server (`make matrix`): what owners see in their rooms and on their phones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from inbox_server.checks.inside import check_deployment
from inbox_server.checks.results import Finding, Findings
from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.refusals import InboxRefused
from inbox_server.clock import system_clock
from inbox_server.http.app_keys import METRICS
from inbox_server.notify.channel import TEXT
from tests.client.test_command_line import made, running_dev
from tests.conftest import APP
from tests.faults.probes import until
from tests.matrix.synapse import Account, Phones, Process, Synapse, need_synapse, running_phones
from tests.support.edges import serving
from tests.support.requests import new_key
from tests.support.serving import Deployment, deploy

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(120)]

A_DAY = 86_400
LINE = TEXT.decode()
PATIENCE_SECONDS = 30


@dataclass(slots=True)
class Home:
    """A home server with the operator's bot, and Bob with a phone."""

    synapse: Synapse
    phones: Phones
    admin: Account
    bot: Account
    bob: Account
    folder: Path

    def settings(self) -> dict[str, str]:
        path = self.folder / "matrix-token"
        path.touch(0o600)
        path.write_text(self.bot.token)
        return {"homeserver": self.synapse.url, "user_id": self.bot.user_id, "token_file": str(path)}

    async def put_out(self, how: str, room: str) -> None:
        """Bob kicks or bans the bot, or takes that back."""
        await self.synapse.client(self.bob, "POST", f"rooms/{room}/{how}", {"user_id": self.bot.user_id})

    async def lift_the_limit(self, account: Account) -> None:
        """As docs/notifications.md says."""
        path = f"/_synapse/admin/v1/users/{account.user_id}/override_ratelimit"
        await self.synapse.ask(self.admin, "POST", path, {"messages_per_second": 0, "burst_count": 0})

    async def set_the_limit(self, account: Account) -> None:
        path = f"/_synapse/admin/v1/users/{account.user_id}/override_ratelimit"
        await self.synapse.ask(self.admin, "DELETE", path)

    @contextlib.asynccontextmanager
    async def inbox_server(self, *, pause: int = A_DAY) -> AsyncIterator["Told"]:
        """With the same database each time it is opened; Bob's inbox takes deliveries from anyone."""
        async with serving(
            self.folder,
            clock=system_clock,
            notify__matrix=self.settings(),
            notify__pause_seconds=pause,
            notify__jitter_seconds=0,
        ) as server:
            bob = Inbox(server.session, server.url, APP, AppKey(b"\1" * 32), system_clock)
            await bob.claim({"accept": "anyone"})
            yield Told(bob, lambda: server.app[METRICS].text().decode())


@dataclass(slots=True)
class Told:
    """Bob's inbox at a server that tells him in a room."""

    inbox: Inbox
    metrics: Callable[[], str]

    async def give(self, room: str) -> None:
        await self.inbox.subscribe({"room": room}, "matrix")

    async def deliver(self, text: str) -> None:
        await deliver(self.inbox, text)

    async def shown(self) -> tuple[int, list[str]]:
        """How many rooms he has, and the notices."""
        settings = await self.inbox.settings()
        return settings["matrix"], settings["notices"]

    async def until_gone(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.shown() != (0, ["matrix_gone"]):
                pass

    async def until_counted(self, outcome: str, count: int) -> None:
        line = f'inbox_notifications_total{{channel="matrix",outcome="{outcome}"}} {count}.0'
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line not in self.metrics():
                await self.inbox.settings()


async def deliver(inbox: Inbox, text: str) -> None:
    alice = new_key()
    sender = Inbox(inbox.session, inbox.url, APP, alice, system_clock)
    await sender.deliver(text, sender=alice.public, recipient=inbox.key.public)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    need_synapse()
    process = Process(tmp_path_factory.mktemp("synapse"))
    yield process
    process.kill()


@pytest.fixture
async def home(process: Process, tmp_path: Path) -> AsyncIterator[Home]:
    async with aiohttp.ClientSession() as session, running_phones() as phones:
        synapse = Synapse(process, session)
        await synapse.start()
        admin = await synapse.account("admin", admin=True)
        bot, bob = await synapse.account("inbox"), await synapse.account("bob")
        await phones.of(bob, synapse)
        yield Home(synapse, phones, admin, bot, bob, tmp_path)


async def test_what_alice_sends_is_shown_by_bobs_phone_at_once(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way by the commands: two bare keys, a hub, a server process, a home server, a phone."""
    room = await home.synapse.chat(home.bob, home.bot)
    matrix = {f"notify__matrix__{key}": value for key, value in home.settings().items()}
    deployment = deploy(tmp_path / "server", notify__jitter_seconds=0, **matrix)
    async with deployment.running():
        await asyncio.to_thread(send_and_publish, deployment.url, room, tmp_path, capsys)
        assert await home.phones.shown(home.bob, 1) == ["high"]
    assert await home.synapse.lines(home.bob, room) == [(home.bot.user_id, LINE)]


def send_and_publish(inbox: str, room: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_dev() as dev:
        alice, bob = (made(dev, folder, capsys, None, key) for key in (dev.alice, dev.bob))
        code, said = bob.say("publish", "--inbox", inbox, "--accept", "anyone", "--matrix", room)
        assert code == 0, said
        code, said = alice.say("send", AppKey.from_hex(dev.bob).public, "hello")
        assert code == 0, said
        assert bob.say("read") == (0, f"{AppKey.from_hex(dev.alice).public}: hello\n")


async def test_bob_is_told_again_after_the_pause_and_not_after_he_took_the_room_away(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot)
    async with home.inbox_server(pause=1) as told:
        await told.give(room)
        for count in (1, 2):
            await told.deliver(f"{count}")
            await home.phones.shown(home.bob, count)
        await told.inbox.unsubscribe(None, "matrix")
        await told.deliver("3")
        other = await home.synapse.chat(home.bob, home.bot)
        await told.give(other)
        await told.deliver("4")
        assert await home.phones.shown(home.bob, 3) == ["high"] * 3
    assert [len(await home.synapse.lines(home.bob, each)) for each in (room, other)] == [2, 1]


async def test_the_line_is_told_in_an_encrypted_chat_too(home: Home) -> None:
    encrypted = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room = await home.synapse.chat(home.bob, home.bot, initial_state=[encrypted])
    async with home.inbox_server() as told:
        await told.give(room)
        await told.deliver("one")
        assert await home.phones.shown(home.bob, 1) == ["high"]
    assert await home.synapse.lines(home.bob, room) == [(home.bot.user_id, LINE)]


async def test_a_room_that_the_bot_cannot_use_is_refused_with_what_to_do(home: Home) -> None:
    carol = await home.synapse.account("carol")
    three = await home.synapse.chat(home.bob, home.bot, carol)
    await home.synapse.join(carol, three)
    banned = await home.synapse.chat(home.bob, preset="private_chat")
    await home.put_out("ban", banned)
    left = await home.synapse.chat(home.bob, home.bot)
    await home.synapse.client(home.bob, "POST", f"rooms/{left}/leave", {})
    async with home.inbox_server() as told:
        for room, words in (
            (three, "must have two members"),
            (left, "is not known"),  # nobody is in it
            (banned, "banned"),
            (await home.synapse.chat(home.bob), "is not invited"),
            ("!of-another-server:nowhere.example", "is not known"),
            ("!nonsense", "is not known"),
        ):
            with pytest.raises(InboxRefused, match=words) as refusal:
                await told.give(room)
            assert refusal.value.is_final
        assert await told.shown() == (0, [])
    joined = await home.synapse.client(home.bot, "GET", "joined_rooms")
    assert joined["joined_rooms"] == []


@pytest.mark.parametrize("how", ["kick", "ban"])
async def test_a_bot_that_is_put_out_drops_the_room_and_bob_is_told(home: Home, how: str) -> None:
    room = await home.synapse.chat(
        home.bob, home.bot, preset="private_chat"
    )  # in a trusted one both have the same power
    async with home.inbox_server() as told:
        await told.give(room)
        await home.put_out(how, room)
        await told.deliver("one")
        await told.until_gone()
        if how == "ban":
            await home.put_out("unban", room)
        await home.synapse.client(home.bob, "POST", f"rooms/{room}/invite", {"user_id": home.bot.user_id})
        await told.give(room)
        assert await told.shown() == (1, [])


async def test_a_bot_that_may_not_post_drops_the_room(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot, preset="private_chat")
    async with home.inbox_server() as told:
        await told.give(room)
        levels = {"events_default": 50}  # of Bob, who made the room, nothing need be said
        await home.synapse.client(home.bob, "PUT", f"rooms/{room}/state/m.room.power_levels", levels)
        await told.deliver("one")
        await told.until_gone()


async def test_a_chat_that_bob_left_or_that_became_one_of_three_is_dropped_at_the_next_look(home: Home) -> None:
    async def leave(room: str) -> None:
        await home.synapse.client(home.bob, "POST", f"rooms/{room}/leave", {})

    async def add_carol(room: str) -> None:
        carol = await home.synapse.account("carol")
        await home.synapse.client(home.bob, "POST", f"rooms/{room}/invite", {"user_id": carol.user_id})
        await home.synapse.join(carol, room)

    change: Callable[[str], Awaitable[None]]
    for change in (leave, add_carol):
        room = await home.synapse.chat(home.bob, home.bot)
        async with home.inbox_server() as told:
            await told.give(room)
            await change(room)
            await told.deliver(change.__name__)
            await told.until_gone()
    assert (await home.synapse.client(home.bot, "GET", "joined_rooms"))["joined_rooms"] == []


async def test_an_upgraded_room_is_told_until_bob_leaves_the_old_one(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot)
    async with home.inbox_server(pause=1) as told:
        await told.give(room)
        await home.synapse.client(home.bob, "POST", f"rooms/{room}/upgrade", {"new_version": "11"})
        await told.deliver("one")
        assert await home.phones.shown(home.bob, 1) == ["high"]
        await home.synapse.client(home.bob, "POST", f"rooms/{room}/leave", {})
    async with home.inbox_server() as told:
        await told.deliver("two")
        await told.until_gone()


async def test_killing_both_servers_posts_nothing_twice(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot)
    matrix = {f"notify__matrix__{key}": value for key, value in home.settings().items()}
    deployment = deploy(
        home.folder / "server", notify__jitter_seconds=0, notify__pause_seconds=A_DAY, server__admin_listen="", **matrix
    )
    inbox = Inbox(home.synapse.session, deployment.url, APP, AppKey(b"\1" * 32), system_clock)
    async with deployment.running():
        await inbox.claim({"accept": "anyone"})
        await inbox.subscribe({"room": room}, "matrix")
        await deliver(inbox, "one")
        await home.phones.shown(home.bob, 1)
    home.synapse.process.kill()
    await home.synapse.start()
    carol = Inbox(home.synapse.session, deployment.url, APP, AppKey(b"\2" * 32), system_clock)
    other = await home.synapse.chat(home.bob, home.bot)
    async with deployment.running():
        await deliver(inbox, "two")
        await carol.claim({"accept": "anyone"})
        await carol.subscribe({"room": other}, "matrix")
        await deliver(carol, "three")  # the bot's queue is in order, so when this is told, the other was too

        async def is_told() -> bool:  # a phone may be told twice of the first: Synapse was killed
            return bool(await home.synapse.lines(home.bob, other))

        await until(is_told, within_seconds=PATIENCE_SECONDS)
    assert [len(await home.synapse.lines(home.bob, each)) for each in (room, other)] == [1, 1]


async def test_a_home_server_that_was_down_tells_again_when_it_is_back(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot)
    async with home.inbox_server(pause=1) as told:
        await told.give(room)
        home.synapse.process.kill()
        await told.deliver("while it is down")
        await told.until_counted("failed", 1)
        with pytest.raises(InboxRefused, match="channel_unavailable"):
            await told.give(room)
        await home.synapse.start()
        await told.deliver("when it is back")
        assert await home.phones.shown(home.bob, 1) == ["high"]
        assert await told.shown() == (1, [])


@pytest.mark.parametrize("limit", ["the default", "lifted"])
async def test_many_owners_are_told_all_the_same(home: Home, limit: str) -> None:
    """Twelve rooms, and Synapse lets a user post ten times at once: then the bot rests, or the operator lifts it."""
    before = len(home.synapse.process.log())
    for account in (home.bot, home.bob):  # joining counts as posting; owners come one by one, but not in a test
        await home.lift_the_limit(account)
    async with home.inbox_server() as told:
        owners = [Inbox(told.inbox.session, told.inbox.url, APP, new_key(), system_clock) for _ in range(12)]
        for owner in owners:
            await owner.claim({"accept": "anyone"})
            await owner.subscribe({"room": await home.synapse.chat(home.bob, home.bot)}, "matrix")
        if limit == "the default":
            await home.set_the_limit(home.bot)
        for owner in owners:
            await deliver(owner, "one")
        assert await home.phones.shown(home.bob, 12) == ["high"] * 12
        await told.until_counted("sent", 12)
    assert (" 429 " in home.synapse.process.log()[before:]) == (limit == "the default")


async def test_a_token_that_ended_stops_the_bot_and_drops_nothing(home: Home) -> None:
    room = await home.synapse.chat(home.bob, home.bot)
    config = deploy(home.folder / "doctor", **{f"notify__matrix__{k}": v for k, v in home.settings().items()})
    async with home.inbox_server(pause=1) as told:
        await told.give(room)
        assert await doctor(config) == ("ok", f"{home.synapse.url} knows the bot {home.bot.user_id}")
        await home.synapse.client(home.bot, "POST", "logout", {})
        await told.deliver("one")
        await told.until_counted("stopped", 1)
        assert await told.shown() == (1, [])
        with pytest.raises(InboxRefused, match="tell its operator"):
            await told.give(room)
    assert await doctor(config) == ("failed", f"{home.synapse.url} refuses the bot's token")


async def test_doctor_sees_the_token_of_somebody_else(home: Home) -> None:
    home.bot = Account(home.bot.user_id, home.bob.token)
    config = deploy(home.folder / "doctor", **{f"notify__matrix__{k}": v for k, v in home.settings().items()})
    verdict, said = await doctor(config)
    assert verdict == "failed"
    assert f"the token is that of {home.bob.user_id}" in said


async def doctor(deployment: Deployment) -> tuple[str, str]:
    """What it finds about the bot."""
    found: list[Finding] = []
    config = deployment.folder / "config.toml"
    await check_deployment(config, Findings(found.append), name=None, app=None, seconds=5, clock=system_clock)
    (finding,) = [each for each in found if each.check == "matrix"]
    return finding.verdict, finding.said
