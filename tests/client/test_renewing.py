"""A card ends after 400 days: a watch renews it before, and only then."""

import pytest

from inbox_server.client.own_card import published_card
from inbox_server.client.publish import Publishing
from inbox_server.client.reports import Renewed
from inbox_server.clock import DAY_SECONDS
from inbox_server.world.local_world import World
from tests.client.test_watching import take
from tests.conftest import APP, HandClock
from tests.support.clients import client_of


@pytest.mark.parametrize(("days", "is_renewed"), [(339, False), (341, True), (401, True)])
async def test_a_card_that_ends_within_60_days_is_renewed(
    world: World, clock: HandClock, days: int, is_renewed: bool
) -> None:
    async with client_of(world, "bob.id", world.inbox_url, app=APP) as bob:
        before = await published_card(bob.account)
        clock.advance(days * DAY_SECONDS)
        seq = await Publishing(bob.account).renew()
        after = await published_card(bob.account)
        assert before
        assert after
        assert (seq is not None, after.expires > before.expires) == (is_renewed, is_renewed)
        assert after.seq == (seq or before.seq)
        assert await Publishing(bob.account).renew() is None


async def test_a_watch_renews_the_card_and_tells_so(world: World, clock: HandClock) -> None:
    async with client_of(world, "bob.id", world.inbox_url, app=APP) as bob:
        clock.advance(350 * DAY_SECONDS)
        (news,) = await take(bob, 1)
        assert isinstance(news, Renewed)
        card = await published_card(bob.account)
        assert card
        assert card.seq == news.seq
