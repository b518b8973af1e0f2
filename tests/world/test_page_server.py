"""The page server of the local world: to whom it answers, with which headers, and what it tells of the database.

The page itself is tried in Chromium: tests/browser.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inbox_server.world.local_world import World
from inbox_server.world.page_server import showing_page
from inbox_server.world.second_inbox import second_inbox
from tests.conftest import APP
from tests.store.sqlite.test_opening import COLUMNS
from tests.support.requests import Caller, at
from tests.support.serving import client_session

EMPTY = ("text", "free_slot", "recent_use")
"""Tables with rows that hold nothing."""
PATHS = ("", "app.js", "style.css", "world.json", "rows.json", "inbox-client.js", "none.js")
FOLDER = Path(__file__).parent.parent.parent / "inbox_server" / "world" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.name != "inbox-client.js")


@pytest.fixture
async def page(world: World, tmp_path: Path) -> AsyncIterator[str]:
    """Its URL, without a client that is built."""
    async with showing_page(world, 0, bundle=tmp_path / "inbox-client.js") as url:
        yield url


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


@pytest.mark.parametrize("path", PATHS)
async def test_no_other_origin_may_read_it_and_no_foreign_script_runs(
    page: str, session: aiohttp.ClientSession, path: str
) -> None:
    async with session.get(page + path, headers={"Origin": "https://evil.example"}) as answer:
        headers = answer.headers
    assert [name for name in headers if name.lower().startswith("access-control-")] == []
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["127.0.0.1:8724", "127.0.0.1", "127.1.2.3:80", "[::1]:8724"])
async def test_it_answers_at_numeric_loopback_addresses(page: str, session: aiohttp.ClientSession, host: str) -> None:
    async with session.get(page + "world.json", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["", "world.json", "rows.json"])
@pytest.mark.parametrize(
    "host",
    [
        "localhost:8724",
        "evil.example:8724",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "10.0.0.1:8724",
        "[::ffff:a00:1]",
        "127.0.0.1:8724:1",
        "0.0.0.0",
        "2130706433",
        "",
    ],
)
async def test_a_name_that_somebody_pointed_at_this_machine_gets_nothing(
    page: str, session: aiohttp.ClientSession, host: str, path: str
) -> None:
    async with session.get(page + path, headers={"Host": host}) as answer:
        assert answer.status == 421
        assert "numeric loopback address" in await answer.text()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("file", FILES)
async def test_its_files_come_with_their_types(page: str, session: aiohttp.ClientSession, file: str) -> None:
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    async with session.get(page + (file if file != "index.html" else "")) as answer:
        assert answer.status == 200
        assert answer.content_type == types[file.split(".")[1]]


async def test_nothing_else_is_served(page: str, session: aiohttp.ClientSession) -> None:
    for path in ("none.js", "page.py", "../page.py", "..%2fpage.py", "%2e%2e/cors.py", "index.html", "app.js/"):
        async with session.get(page + path) as answer:
            assert answer.status == 404, path


async def test_a_page_without_its_client_says_how_to_build_it_and_why_it_is_not_there(
    page: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with session.get(page) as answer:
        text = await answer.text()
    assert answer.status == 200
    for words in ("<code>make page</code>", "nothing generated is kept in the repository"):
        assert words in text
    async with session.get(page + "inbox-client.js") as answer:
        assert answer.status == 404
        assert "make page" in await answer.text()
    assert (await _json(session, page + "world.json"))["client_is_built"] is False

    (tmp_path / "inbox-client.js").write_text("export {};")  # built while the world runs
    assert (await _json(session, page + "world.json"))["client_is_built"] is True
    async with session.get(page + "inbox-client.js") as answer:
        assert (answer.status, answer.content_type) == (200, "text/javascript")


async def test_it_tells_where_everything_is_and_whose_keys_these_are(
    world: World, page: str, session: aiohttp.ClientSession
) -> None:
    told = await _json(session, page + "world.json")
    assert told["people"] == []
    bob = await world.settle("bob.id", APP)
    told = await _json(session, page + "world.json")
    assert told["people"] == [
        {
            "name": "bob.id",
            "app": APP,
            "app_private_key": bob.app_key.secret.hex(),
            "address": bob.app_key.address,
            "association_token": None,
        }
    ]
    assert (told["inbox_url"], told["names_url"], told["hub_url"]) == (world.inbox_url, world.names_url, world.hub_url)


async def test_the_rows_are_all_that_the_database_holds_now(
    world: World, page: str, session: aiohttp.ClientSession
) -> None:
    alice, bob = await world.settle("alice.id", APP), await world.settle("bob.id", APP)
    owner = Caller(session, world.inbox_url, bob.app_key, world.clock)
    await owner.claim({"names": ["bob.id"], "blocked": [at(owner).key.address]})
    before = await _tables(session, page)
    assert {name: " ".join(table["columns"]) for name, table in before.items()} == COLUMNS
    assert {name: len(table["rows"]) for name, table in before.items() if name not in EMPTY} == {
        **dict.fromkeys(("inbox", "listed", "name", "secret_check", "seen"), 1),
        **dict.fromkeys(("due", "invite", "message", "subscription", "draining", "suspended"), 0),
        **dict.fromkeys(("log_mark", "logged", "migration", "sheet"), 0),
    }

    await at(owner, alice.app_key).deliver("opaque", sender="alice.id", recipient="bob.id")
    after = await _tables(session, page)
    (message,) = _rows(after["message"])
    assert message["size"] == len("opaque")
    texts = {row["slot"]: row["body"] for row in _rows(after["text"])}
    (entry,) = (await owner.unread()).json()["messages"]
    assert texts[message["slot"]][:24] == entry["id"].encode().hex()[:24]  # the text comes after its id
    assert len(texts) == 66

    await owner.acknowledge(entry["id"])
    (message,) = _rows((await _tables(session, page))["message"])
    assert message["slot"] is None


async def test_each_inbox_server_of_the_world_has_rows_of_its_own(
    world: World, page: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with second_inbox(world, tmp_path / "second", bytes(32)) as second_url:
        assert (await _json(session, page + "world.json"))["inbox_urls"] == [world.inbox_url, second_url]
        bob = await world.settle("bob.id", APP)
        await Caller(session, second_url, bob.app_key, world.clock).claim({"names": ["bob.id"]})
        for url, inboxes in ((world.inbox_url, 0), (second_url, 1)):
            assert len((await _tables(session, page, url))["inbox"]["rows"]) == inboxes
    async with session.get(page + "rows.json?inbox=https://elsewhere.example") as answer:
        assert answer.status == 404


async def test_what_of_anybody_stands_in_the_files_is_told(
    world: World, page: str, session: aiohttp.ClientSession
) -> None:
    bob = await world.settle("bob.id", APP)
    rows = await _json(session, page + "rows.json")
    assert (rows["found"], rows["searched_for"]) == ([], 15)
    (world.data_dir / "careless.log").write_text(f"from {bob.app_key.address}")
    assert (await _json(session, page + "rows.json"))["found"] == ["bob.id's app address"]


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.json()


async def _tables(session: aiohttp.ClientSession, page: str, inbox: str = "") -> dict[str, Any]:
    rows = await _json(session, page + "rows.json" + (f"?inbox={inbox}" if inbox else ""))
    return {table["name"]: table for table in rows["tables"]}


def _rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
