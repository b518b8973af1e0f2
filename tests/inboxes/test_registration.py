"""Who may claim an inbox: listed, invited, or anybody; over HTTP, by configuration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.user import AppUser
from inbox_server.clock import UnixTime
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.store.sqlite.opening import add_invite
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.requests import SECRET, Caller, at, check_problem, inbox_server, new_key
from tests.support.stores import read_rows, row_counts

OTHER_APP = "https://other.example"
FIRST, SECOND = new_key(), new_key()
OPEN: dict[str, Any] = {"mode": "open", "open_to_keys": True}


@asynccontextmanager
async def _server(world: World, folder: Path, **registration: Any) -> AsyncIterator[Caller]:
    async with inbox_server(world, folder / "registering", {"registration": registration}) as somebody:
        yield somebody


async def _not_registered(owner: Caller, settings: dict[str, Any] | None = None) -> str:
    detail: str = check_problem(await owner.claim(settings), "not_registered")["detail"]
    return detail


@pytest.mark.parametrize("identity", [FIRST.public, FIRST.address], ids=["key", "address"])
async def test_a_listed_key_or_address_may_claim(world: World, tmp_path: Path, identity: str) -> None:
    async with _server(world, tmp_path, mode="listed", listed=[identity]) as somebody:
        assert (await at(somebody, FIRST).claim()).status == 201
        assert "operator" in await _not_registered(at(somebody, SECOND))
        assert (await at(somebody, FIRST).claim({"accept": "anyone"})).status == 200


async def test_nobody_may_claim_where_nobody_is_listed(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path) as somebody:
        await _not_registered(somebody)
        assert row_counts(tmp_path / "registering")["inbox"] == 0


async def test_a_listed_name_may_claim_when_it_is_proved(world: World, bob: AppUser, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="listed", listed=["bob.id"]) as somebody:
        owner = at(somebody, bob.key)
        assert "names" in await _not_registered(owner)  # it has to be said
        assert (await owner.claim({"names": ["bob.id"]})).status == 201
        assert (await owner.claim({"accept": "anyone"})).status == 200  # once claimed, it need not be said again
        check_problem(await at(somebody).claim({"names": ["bob.id"]}), "name_unproven")


async def test_a_name_that_is_not_listed_does_not_help(world: World, bob: AppUser, tmp_path: Path) -> None:
    look_ups = world.register.look_ups
    async with _server(world, tmp_path, mode="listed", listed=["alice.id"]) as somebody:
        await _not_registered(at(somebody, bob.key), {"names": ["bob.id"]})
    assert world.register.look_ups == look_ups  # refused before any look-up


async def test_a_listed_identity_may_be_bound_to_apps(world: World, tmp_path: Path) -> None:
    listed = [{"identity": FIRST.public, "apps": [OTHER_APP]}]
    async with _server(world, tmp_path, mode="listed", listed=listed) as somebody:
        await _not_registered(at(somebody, FIRST))
        elsewhere = Caller(somebody.session, somebody.url, FIRST, somebody.clock, OTHER_APP)
        assert (await elsewhere.claim()).status == 201


async def test_a_name_covers_all_its_apps_unless_they_are_given(world: World, bob: AppUser, tmp_path: Path) -> None:
    other = await world.settle("bob.id", OTHER_APP)
    async with _server(world, tmp_path, mode="listed", listed=["bob.id"]) as somebody:
        elsewhere = Caller(somebody.session, somebody.url, other.app_key, somebody.clock, OTHER_APP)
        assert (await elsewhere.claim({"names": ["bob.id"]})).status == 201
    listed = [{"identity": "bob.id", "apps": [APP]}]
    async with inbox_server(world, tmp_path / "strict", {"registration": {"listed": listed}}) as somebody:
        elsewhere = Caller(somebody.session, somebody.url, other.app_key, somebody.clock, OTHER_APP)
        await _not_registered(elsewhere, {"names": ["bob.id"]})


async def _invite(world: World, folder: Path, code: str, seconds: int = 1000) -> None:
    """As `inbox-server invite new` does."""
    hashes, expires = KeyedHash(SECRET), UnixTime(world.clock() + seconds)
    await add_invite(folder / "registering", hashes.invite(code), expires=expires, check_value=hashes.check_value())


async def test_an_invite_is_good_for_one_claim_and_its_repeats(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="invite") as first:
        await _invite(world, tmp_path, "the-code")
        for status in (201, 200, 200):
            assert (await first.claim({"invite": "the-code"})).status == status
        await _not_registered(at(first), {"invite": "the-code"})
        assert (await first.claim({"accept": "anyone"})).status == 200  # no code is needed any more
        assert row_counts(tmp_path / "registering")["invite"] == 0


@pytest.mark.parametrize("settings", [{}, {"invite": "another-code"}, {"invite": "the-code-"}, {"invite": "THE-CODE"}])
async def test_without_the_invite_there_is_no_claim(world: World, tmp_path: Path, settings: dict[str, Any]) -> None:
    async with _server(world, tmp_path, mode="invite") as somebody:
        await _invite(world, tmp_path, "the-code")
        assert "invite" in await _not_registered(somebody, settings)
        assert row_counts(tmp_path / "registering")["invite"] == 1


async def test_an_invite_that_expired_is_no_good(world: World, tmp_path: Path, clock: HandClock) -> None:
    async with _server(world, tmp_path, mode="invite") as somebody:
        await _invite(world, tmp_path, "the-code", seconds=100)
        clock.advance(100)
        await _not_registered(somebody, {"invite": "the-code"})


async def test_a_claim_that_fails_does_not_use_the_invite_up(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="invite") as somebody:
        await _invite(world, tmp_path, "the-code")
        check_problem(await somebody.claim({"invite": "the-code", "names": ["nobody.id"]}), "name_unproven")
        assert (await somebody.claim({"invite": "the-code"})).status == 201


async def test_of_many_who_use_an_invite_at_once_one_gets_in(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="invite") as somebody:
        await _invite(world, tmp_path, "the-code")
        owners = [at(somebody) for _ in range(10)]
        answers = await asyncio.gather(*(owner.claim({"invite": "the-code"}) for owner in owners))
        assert sorted(answer.status for answer in answers) == [201] + [403] * 9


async def test_invites_stand_in_the_database_as_hashes_only(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="invite"):
        await _invite(world, tmp_path, "the-code")
        assert read_rows(tmp_path / "registering", "SELECT code FROM invite") == [
            (KeyedHash(SECRET).invite("the-code"),)
        ]
        assert all(b"the-code" not in path.read_bytes() for path in (tmp_path / "registering").iterdir())


async def test_an_open_server_takes_any_key_when_it_is_open_to_keys(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, **OPEN) as somebody:
        assert (await somebody.claim()).status == 201


async def test_an_open_server_takes_only_names_otherwise(world: World, bob: AppUser, tmp_path: Path) -> None:
    async with _server(world, tmp_path, mode="open") as somebody:
        assert "names" in await _not_registered(somebody)
        await _not_registered(somebody, {"names": []})
        check_problem(await somebody.claim({"names": ["bob.id"]}), "name_unproven")
        assert row_counts(tmp_path / "registering")["inbox"] == 0
        assert (await at(somebody, bob.key).claim({"names": ["bob.id"]})).status == 201
        assert (await at(somebody, bob.key).claim({"names": []})).status == 200


async def test_an_open_server_takes_so_many_new_inboxes_an_hour(world: World, tmp_path: Path, clock: HandClock) -> None:
    async with _server(world, tmp_path, open_per_hour=2, **OPEN) as first:
        await first.claim()
        clock.advance(600)
        await at(first).claim()
        late = at(first)
        answer = await late.claim()
        check_problem(answer, "too_many")
        assert int(answer.headers["Retry-After"]) == 3000
        assert (await first.claim({"accept": "anyone"})).status == 200  # who is in is not counted
        clock.advance(2999)
        check_problem(await late.claim(), "too_many")
        clock.advance(1)
        assert (await late.claim()).status == 201
        check_problem(await at(first).claim(), "too_many")


async def test_what_was_claimed_by_a_clock_that_was_ahead_does_not_count_until_then(
    world: World, tmp_path: Path, clock: HandClock
) -> None:
    async with _server(world, tmp_path, open_per_hour=2, **OPEN) as first:
        clock.advance(60 * 86_400)
        await first.claim()
        clock.advance(-60 * 86_400)
        assert [(await at(first).claim()).status for _ in range(2)] == [201, 201]
        late = await at(first).claim()
        check_problem(late, "too_many")
        assert int(late.headers["Retry-After"]) <= 3600
        clock.advance(3600)
        assert (await at(first).claim()).status == 201


async def test_claims_that_were_refused_are_not_counted(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, open_per_hour=1, **OPEN) as somebody:
        for _ in range(3):
            check_problem(await somebody.claim({"names": ["nobody.id"]}), "name_unproven")
        assert (await somebody.claim()).status == 201


async def test_an_open_server_takes_so_many_inboxes_in_all(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, max_inboxes=2, **OPEN) as first:
        second, third = at(first), at(first)
        assert [(await each.claim()).status for each in (first, second)] == [201, 201]
        await _not_registered(third)
        assert (await first.claim({"accept": "nobody"})).status == 200
        await second.give_up()
        assert (await third.claim()).status == 201


async def test_many_who_claim_at_once_do_not_pass_the_hours_limit(world: World, tmp_path: Path) -> None:
    async with _server(world, tmp_path, open_per_hour=3, **OPEN) as somebody:
        answers = await asyncio.gather(*(at(somebody).claim() for _ in range(12)))
        assert sorted(answer.status for answer in answers) == [201] * 3 + [429] * 9
