"""`/metrics`: it counts what happened, and tells of nobody."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inbox_server.client.user import AppUser
from inbox_server.config.config import Tcp
from inbox_server.errors import CODES
from inbox_server.http.admin import make_admin_app
from inbox_server.http.app_keys import CLOCK_GUARD, METRICS
from inbox_server.http.listening import listening
from inbox_server.metrics import Metrics
from inbox_server.world.local_world import World
from tests.conftest import APP
from tests.support.live import Live, live_server, open_stream
from tests.support.requests import at, caller, check_problem, id_of

Samples = Mapping[str, float]


@pytest.fixture
async def live(world: World, tmp_path: Path) -> AsyncIterator[Live]:
    async with live_server(world, tmp_path / "live") as live:
        yield live


def read(text: str) -> Samples:
    """Each sample by its name and labels, as Prometheus itself reads them."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(live: Live) -> Samples:
    return read(live.app[METRICS].text().decode())


async def test_the_admin_listener_serves_them_and_the_public_one_does_not(world: World, live: Live) -> None:
    async with (
        listening(make_admin_app(world.store, live.app[METRICS], live.app[CLOCK_GUARD]), Tcp("127.0.0.1", 0)) as (url,),
        world.session.get(f"{url}/metrics") as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert read(await answer.text())["inbox_deliveries_total{new}"] == 0
    check_problem(await live.owner.send("GET", "/metrics"), "not_found")


async def test_deliveries_and_refusals_are_counted(live: Live) -> None:
    await live.deliver("one", "two")
    assert (await at(live.owner).deliver("one", recipient=live.owner.key.address)).status == 200
    check_problem(await at(live.owner).deliver("one", recipient=at(live.owner).key.address), "not_accepted")
    check_problem(await live.owner.send("GET", "/nothing"), "not_found")
    check_problem(await live.owner.send("PATCH", "/v1/inbox"), "wrong_method")
    samples = counted(live)
    assert (samples["inbox_deliveries_total{new}"], samples["inbox_deliveries_total{repeated}"]) == (2, 1)
    refusals = {code: samples[f"inbox_refusals_total{{{code}}}"] for code in CODES}
    assert refusals == dict.fromkeys(CODES, 0) | {"not_accepted": 1, "not_found": 1, "wrong_method": 1}


async def test_entries_are_counted_unread_and_read(world: World, alice: AppUser, live: Live) -> None:
    owner = caller(world)
    await owner.claim({"accept": "anyone"})
    for text in ("one", "two", "three"):
        await at(owner).deliver(text, recipient=owner.key.address)
    await owner.acknowledge(id_of("one"))
    async with (
        listening(make_admin_app(world.store, live.app[METRICS], live.app[CLOCK_GUARD]), Tcp("127.0.0.1", 0)) as (url,),
        world.session.get(f"{url}/metrics") as answer,
    ):
        samples = read(await answer.text())
    assert (samples["inbox_entries{unread}"], samples["inbox_entries{read}"]) == (2, 1)


async def test_look_ups_are_counted_by_how_they_ended(alice: AppUser, bob: AppUser, live: Live) -> None:
    await live.owner.claim({"accept": "names"})

    async def deliver(name: str, text: str) -> None:
        await at(live.owner, alice.key).deliver(text, sender=name, recipient=live.owner.key.address)

    await deliver("alice.id", "one")
    await deliver("alice.id", "two")
    await deliver("bob.id", "not hers")
    await deliver("nobody.id", "nobody's")
    samples = counted(live)
    outcomes = {
        name: samples[f"inbox_look_ups_total{{{name}}}"]
        for name in ("found", "remembered", "refused", "failed", "busy")
    }
    assert outcomes == {"found": 2, "remembered": 2, "refused": 1, "failed": 0, "busy": 0}


async def test_commits_are_measured(live: Live) -> None:
    before = counted(live)
    await live.deliver("one", "two", "three")
    after = counted(live)
    assert after["inbox_commit_jobs_sum"] - before["inbox_commit_jobs_sum"] == 3
    assert after["inbox_commit_seconds_sum"] > before["inbox_commit_seconds_sum"]
    assert after["inbox_write_queue"] == 0


async def test_waiting_readers_are_counted(live: Live) -> None:
    async with open_stream(live.owner):
        assert counted(live)["inbox_waiting_readers"] == 1
    await live.waiting(0)
    assert counted(live)["inbox_waiting_readers"] == 0


async def test_what_is_remembered_is_counted(live: Live) -> None:
    before, token = counted(live), live.owner.owner_token("read")
    for _ in range(2):
        await live.owner.send("GET", "/v1/messages", token=token)
    after = counted(live)
    for cache in ("read_tokens", "polls", "feed_ends"):
        assert after[f"inbox_cache_entries{{{cache}}}"] == before[f"inbox_cache_entries{{{cache}}}"] + 1


async def test_hashes_of_recipients_are_remembered_and_those_of_senders_are_not(live: Live) -> None:
    before = counted(live)
    await live.deliver("one", "two", "three")  # by a new key each time
    by_name = await at(live.owner).deliver("four", recipient="nobody.id")
    assert by_name.status == 403
    after = counted(live)
    series = {kind: f"inbox_cache_entries{{hashed_{kind}}}" for kind in ("inboxes", "names", "apps")}
    added = {kind: after[name] - before[name] for kind, name in series.items()}
    assert added == {"inboxes": 0, "names": 1, "apps": 1}  # the owner's were there since the claim


def test_there_is_no_second_series_for_each_counter() -> None:
    assert "_created" not in Metrics().text().decode()


def test_every_series_is_there_from_the_start() -> None:
    """A counter that appears with its first 1 is not seen to increase."""
    samples = read(Metrics().text().decode())
    assert {name for name in samples if name.startswith("inbox_refusals_total")} == {
        f"inbox_refusals_total{{{code}}}" for code in CODES
    }


async def test_the_page_lists_what_there_is(live: Live) -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "running.md").read_text()
    match = re.search(r"<!-- metrics: .*?-->(.*?)<!-- /metrics -->", text, re.DOTALL)
    assert match
    described = {name for line in match[1].splitlines() for name in re.findall(r"`((?:inbox|process)_[\w*]+)", line)}
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(live.app[METRICS].text().decode())
        if not family.name.startswith("process_")
    }
    assert described == families | {"process_*"}
    caches = {name[:-1].split("{")[1] for name in counted(live) if name.startswith("inbox_cache_entries")}
    assert caches <= set(re.findall(r"`(\w+)`", match[1]))


async def test_nothing_in_them_tells_of_anybody(world: World, alice: AppUser, bob: AppUser, live: Live) -> None:
    """Two senders, and one of them twice: the text is the same for any two people."""
    await live.deliver("opaque")
    await live.owner.acknowledge(id_of("opaque"))
    text = live.app[METRICS].text().decode()
    for secret in (live.owner.key.address, live.owner.key.public, APP, "chat", "127.0.0.1", "opaque"):
        assert secret not in text
    labels = {label for family in text_string_to_metric_families(text) for s in family.samples for label in s.labels}
    assert labels == {"code", "outcome", "cache", "channel", "state", "le"}
