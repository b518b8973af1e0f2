"""The local world's name service: one register, told in the shapes of two times, to pages too."""

from typing import Any

import pytest

from inbox_server.world.local_world import World
from tests.conftest import APP


async def look_up(world: World, name: str) -> list[tuple[int, Any]]:
    """Status and document, as the Stacks API tells it and as its predecessor did."""
    answers = []
    for service in (world.names_url, world.legacy_names_url):
        async with world.session.get(f"{service}/v1/names/{name}") as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            answers.append((response.status, await response.json()))
    return answers


@pytest.mark.parametrize(
    ("name", "status", "legacy_status"),
    [
        ("alice.id", "name-register", "registered"),
        ("carol.btc", "name-register", "registered"),
        ("alice.id.blockstack", "registered_subdomain", "registered_subdomain"),
    ],
)
async def test_a_name_is_told_in_both_shapes(world: World, name: str, status: str, legacy_status: str) -> None:
    person = await world.settle(name, APP)
    (new_answer, new), (old_answer, old) = await look_up(world, name)
    assert (new_answer, old_answer) == (200, 200)
    assert (new["address"], old["address"]) == (person.owner_address, person.owner.address)
    assert (new["blockchain"], old["blockchain"]) == ("stacks", "bitcoin")
    assert (new["status"], old["status"]) == (status, legacy_status)
    assert new["zonefile"] == old["zonefile"]
    assert f'"{world.read_url}{person.data.address}/profile.json"' in new["zonefile"]


@pytest.mark.parametrize(("name", "kind"), [("nobody.id", "name"), ("nobody.id.blockstack", "subdomain")])
async def test_a_name_that_nobody_has_is_not_found_in_both_shapes(world: World, name: str, kind: str) -> None:
    assert await look_up(world, name) == [
        (404, {"error": f"cannot find {kind} {name}"}),
        (404, {"status": "available"}),
    ]


async def test_a_page_may_ask_and_read_also_that_a_route_is_not_there(world: World) -> None:
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "GET"}
    async with world.session.options(f"{world.names_url}/v1/names/alice.id", headers=asked) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "GET" in response.headers["Access-Control-Allow-Methods"]
    async with world.session.get(f"{world.names_url}/v1/nothing") as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (404, "*")
