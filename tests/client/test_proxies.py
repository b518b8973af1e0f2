"""What stands between a client and an inbox server: its pages are no refusals, and its empty answers no deliveries."""

from collections.abc import AsyncIterator

import pytest

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.outbox import KEPT_SECONDS
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.errors import CODES
from inbox_server.world.local_world import World
from tests.conftest import APP, HandClock
from tests.support.clients import ITS_ID, PROBLEM, Scripted, client_of

_PAGE = b"<html><title>Sign in to this network</title></html>"
_STORED = {"id": ITS_ID, "expires": 1}
_STATUSES = (302, 400, 401, 402, 403, 404, 405, 407, 410, 413, 421, 422, 451)


@pytest.fixture
async def bob(world: World, server: Scripted) -> AsyncIterator[InboxClient]:
    async with client_of(world, "bob.id", app=APP) as client:
        await client.publish((server.url,))
        yield client


@pytest.mark.parametrize("status", _STATUSES)
async def test_a_page_of_a_proxy_is_for_now_at_first_and_for_what_waits(
    alice: InboxClient, bob: InboxClient, server: Scripted, status: int
) -> None:
    server.answers.append((status, {"Content-Type": "text/html", "Location": "https://login.example/"}, _PAGE))
    sent = await alice.send("bob.id", "hello")
    (again,) = await alice.retry()
    for report in (sent, again):
        assert [(outcome.state, outcome.code) for outcome in report.outcomes] == [("later", "")]
    server.answers[:] = []
    server.say(201, _STORED)
    assert [report.stored for report in await alice.retry()] == [(server.url,)]
    assert alice.account.outbox.read() == {}


async def test_a_page_of_a_proxy_is_repeated_until_thirty_days_are_over(
    world: World, alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    await alice.claim({}, inboxes=(world.inbox_url,))
    await alice.publish((world.inbox_url,))
    server.answers.append((403, {"Content-Type": "text/html"}, _PAGE))
    await alice.send("bob.id", "hello")
    clock.advance(KEPT_SECONDS - 1)
    assert [report.outcomes[0].state for report in await alice.retry()] == ["later"]
    clock.advance(1)
    assert [report.outcomes[0].code for report in await alice.retry()] == ["gave_up"]


@pytest.mark.parametrize(
    ("content_type", "code"),
    [("application/json", "not_accepted"), ("application/problem+json", "forbidden"), ("text/html", "not_accepted")],
)
async def test_only_a_code_of_the_table_as_a_problem_is_final(
    alice: InboxClient, bob: InboxClient, server: Scripted, content_type: str, code: str
) -> None:
    server.say(403, {"code": code, "detail": "no"}, Content_Type=content_type)
    assert [outcome.state for outcome in (await alice.send("bob.id", "hello")).outcomes] == ["later"]


async def test_a_token_that_a_proxy_takes_away_is_sent_again(
    alice: InboxClient, bob: InboxClient, server: Scripted
) -> None:
    server.say(401, {"status": 401, "code": "no_token", "detail": "There is no Authorization header."})
    server.say(201, _STORED)
    (outcome,) = (await alice.send("bob.id", "hello")).outcomes
    assert (outcome.state, outcome.code) == ("later", "no_token")
    assert [report.stored for report in await alice.retry()] == [(server.url,)]


@pytest.mark.parametrize("code", sorted(code for code, row in CODES.items() if row.status < 500))
def test_a_refusal_of_this_protocol_is_final_unless_it_passes(code: str) -> None:
    assert InboxRefused(CODES[code].status, code, "x").is_final == (code not in ("no_token", "too_slow", "too_many"))


@pytest.mark.parametrize("answer", [b"", b"{}", b"OK", _PAGE, b'{"status": "ok"}', b'{"id": "request 7"}'])
async def test_an_answer_without_the_id_of_what_was_delivered_is_no_delivery(
    alice: InboxClient, bob: InboxClient, server: Scripted, answer: bytes
) -> None:
    server.answers.append((200, {}, answer))
    sent = await alice.send("bob.id", "hello")
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("later", "unreachable")]
    assert len(alice.account.outbox.read()) == 1


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"status": "ok"}'])
async def test_an_answer_that_is_no_204_acknowledges_nothing_and_deletes_nothing(
    bob: InboxClient, server: Scripted, answer: bytes
) -> None:
    server.answers.append((200, {}, answer))
    inbox = bob.account.own(server.url)
    with pytest.raises(Unreachable):
        await inbox.acknowledge(["a"])
    with pytest.raises(Unreachable):
        await inbox.forget()
    with pytest.raises(Unreachable):
        await inbox.give_tickets(2952, bytes(16))
    server.answers[:] = [(204, {}, b"")]
    await inbox.acknowledge(["a"])


async def test_an_inbox_that_a_proxy_hides_keeps_its_place_on_the_card(bob: InboxClient, server: Scripted) -> None:
    server.answers.append((404, {"Content-Type": "text/html"}, _PAGE))
    (outcome,) = await bob.claim({}, inboxes=(server.url,))
    assert (outcome.state, outcome.code) == ("later", "unreachable")
    assert outcome.detail == f"{server.url} is not an inbox server, or not under this URL: it answered 404"


async def test_a_time_to_live_that_was_over_is_signed_anew_and_asked_once_more(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    over = {"status": 422, "code": "ttl_passed", "detail": "It is over."}
    server.say(422, over)
    server.say(201, _STORED)
    assert (await alice.send("bob.id", "hello", ttl=10)).stored == (server.url,)
    first, second = server.asked
    assert first.body == second.body
    server.answers[:] = []
    server.say(422, over, Content_Type=PROBLEM)
    sent = await alice.send("bob.id", "hello", ttl=10)
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("refused", "ttl_passed")]
    assert len(server.asked) == 4


async def test_deliveries_refused_as_names_unavailable_are_kept(
    alice: InboxClient, bob: InboxClient, server: Scripted, clock: HandClock
) -> None:
    server.say(503, {"status": 503, "code": "names_unavailable", "detail": "Later."}, Retry_After="45")
    server.say(201, _STORED)
    sent = await alice.send("bob.id", "hello")
    assert [(outcome.state, outcome.code) for outcome in sent.outcomes] == [("later", "names_unavailable")]
    clock.advance(45)
    assert [report.stored for report in await alice.retry()] == [(server.url,)]
