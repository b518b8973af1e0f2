"""All checks of a server from outside, each after those that it depends on."""

from collections.abc import Callable
from typing import Final

from inbox_server.checks.answers import check_answers
from inbox_server.checks.asking import open_server
from inbox_server.checks.capability import Capabilities, check_capabilities, check_origin
from inbox_server.checks.results import Findings
from inbox_server.checks.round_trip import check_round_trip, skip_round_trip
from inbox_server.client.appkey import AppKey

_NOT_TAKEN: Final = {
    "listed": "the server takes listed identities only, and a throw-away key is not on its list",
    "invite": "the server takes invites only: make one with `inbox-server invite new`, and give it with --invite",
}


async def check_server(
    url: str,
    findings: Findings,
    *,
    invite: str | None,
    seconds: float,
    hold_seconds: int,
    clock: Callable[[], float],
    random_bytes: Callable[[int], bytes],
) -> None:
    """Check the server at `url`. An `invite` is used to claim one new inbox, which is then deleted.

    The server must hold one answer for `hold_seconds`; 0 skips that.
    """
    if not check_origin(url, findings):
        return
    async with open_server(url, seconds, clock) as server:
        capabilities = await check_capabilities(server, findings)
        if capabilities is None:
            return
        times = await check_answers(server, capabilities, AppKey(random_bytes(32)), findings)
        if times is None:
            skip_round_trip("no token arrives", findings)
            return
        why = _not_taken(capabilities, invite)
        if why:
            skip_round_trip(why, findings)
        else:
            await check_round_trip(times, invite, hold_seconds, random_bytes, findings)


def _not_taken(capabilities: Capabilities, invite: str | None) -> str | None:
    """Why no throw-away inbox can be claimed, if that is known without trying."""
    if capabilities.registration == "invite" and invite:
        return None
    return _NOT_TAKEN.get(capabilities.registration)
