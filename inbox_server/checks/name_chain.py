"""Checks of the name services, of this machine's clock against theirs, and of each link of one name's chain."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from inbox_server.checks.answers import HALF_A_SECOND, date_of
from inbox_server.checks.asking import Answer, NoAnswer, open_server
from inbox_server.checks.results import Findings, quoted
from inbox_server.config.config import Config
from inbox_server.errors import Refused
from inbox_server.identity.names import Name
from inbox_server.outgoing.failures import why
from inbox_server.outgoing.fetch import Absent, Fetcher, Unreachable
from inbox_server.outgoing.guard import NotAllowed, check_stranger_url, read_url
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS
from inbox_server.resolver.chain import ChainResolver
from inbox_server.resolver.profile import MAX_PROFILE_BYTES, Bucket, find_bucket, read_profile
from inbox_server.resolver.service import NameRecord, NameServices
from inbox_server.resolver.zonefile import profile_url

_ANSWERED: Final = frozenset({200, 400, 404})  # 400 and 404: there is no such name
_SOME_NAME: Final = "inbox-server.id"  # whether anybody has it does not matter
_SANE_YEARS: Final = range(2026, 2100)


async def check_services(
    config: Config,
    name: str | None,
    fetcher: Fetcher,
    findings: Findings,
    *,
    seconds: float,
    clock: Callable[[], float],
) -> None:
    """Check that each service answers about a name, and that its clock is close to this machine's."""
    asked = name or next((each.identity.text for each in config.listed if isinstance(each.identity, Name)), _SOME_NAME)
    leads = []
    for base in config.name_services:
        async with open_server(base, seconds, clock) as service:
            try:
                answer = await service.ask("GET", f"/v1/names/{asked}")
            except NoAnswer as error:
                findings.fail("name service", f"{base} {error}", "Is the URL right, and outgoing traffic allowed?")
                continue
        dated = date_of(answer.headers)
        if dated is not None:
            leads.append(round(answer.moment - dated - HALF_A_SECOND))
        await _check_service(base, asked, answer, fetcher, findings)
    if not config.name_services:
        findings.skip("name service", "names.services is empty: only keys and static names are identities here")
    _check_clock(clock(), leads, findings)


async def _check_service(base: str, name: str, answer: Answer, fetcher: Fetcher, findings: Findings) -> None:
    advice = "Is this the base URL of a Stacks API, in front of /v1/names?"
    if answer.status not in _ANSWERED:
        findings.fail("name service", f"{base} answers {answer.status}", advice)
        return
    if not answer.members:
        findings.fail("name service", f"{base} answers {answer.status} with JSON that is not a name service's", advice)
        return
    try:
        await NameServices(fetcher, (base,), agreement=False).look_up(name)
        findings.ok("name service", f"{base} answers, and knows {name}")
    except Refused as refusal:  # the server's own look-up decides
        if refusal.code == "name_unproven":
            findings.ok("name service", f"{base} answers, and does not know {name}")
        else:
            findings.fail("name service", f"{base} gives an answer that the server cannot use", advice)


def _check_clock(now: float, leads: list[int], findings: Findings) -> None:
    advice = "Set it with NTP (`timedatectl status` shows its state)."
    date = datetime.fromtimestamp(now, UTC)
    if date.year not in _SANE_YEARS:
        findings.fail("clock", f"this machine's clock says {date:%Y-%m-%d %H:%M} UTC", advice)
    elif not leads:
        findings.skip("clock", f"it says {date:%Y-%m-%d %H:%M} UTC; no name service gave a time to compare it with")
    elif min(map(abs, leads)) > CLOCK_SKEW_SECONDS:  # one service may be wrong
        side = "ahead of" if leads[0] > 0 else "behind"
        said = f"it is {abs(leads[0])} s {side} the name service's; tokens allow {CLOCK_SKEW_SECONDS} s"
        findings.fail("clock", said, advice)
    else:
        findings.ok("clock", f"{min(map(abs, leads))} s from a name service's; tokens allow {CLOCK_SKEW_SECONDS} s")


async def check_chain(name: str, app: str, config: Config, fetcher: Fetcher, findings: Findings) -> None:
    """Check each link from a name to its key, in order, up to the first broken one."""
    vouched = next((entry.key for entry in config.static if (entry.name, entry.app) == (name, app)), None)
    if vouched:
        findings.ok("key", f"{vouched.hex}, vouched for in names.static; its address is {vouched.address}")
        return
    services = NameServices(fetcher, config.name_services, agreement=config.agreement)
    try:
        record = await services.look_up(name)
    except Refused as refusal:
        findings.fail("owner", refusal.detail, f"Is {name} registered, and known to names.services?")
        return
    findings.ok("owner", f"{name} belongs to {quoted(record.owner)}")
    url = _check_zone_file(record, config, findings)
    body = await _fetched(url, fetcher, findings) if url else None
    bucket = _check_profile(body, record.owner, app, findings) if body is not None else None
    if bucket is None:
        return
    try:
        key = await ChainResolver(fetcher, services, ()).bucket_key(bucket)
        findings.ok("key", f"{key.hex} hashes to the bucket's address {bucket.address}")
    except Refused as refusal:
        findings.fail("key", refusal.detail, "The app publishes it at sign-in (key.json in the bucket).")


def _check_profile(body: bytes, owner: str, app: str, findings: Findings) -> Bucket | None:
    try:
        claim = read_profile(body, owner=owner)
        findings.ok("profile", "is signed by the owner's key")
    except Refused as refusal:
        findings.fail(
            "profile", refusal.detail, "The name's owner must publish it again, with the wallet that has the name."
        )
        return None
    try:
        bucket = find_bucket(claim, app)
    except Refused as refusal:
        findings.fail("bucket", refusal.detail, "The name's owner signs in to the app anew.")
        return None
    findings.ok("bucket", f"for {app}: {quoted(bucket.url)}")
    return bucket


def _check_zone_file(record: NameRecord, config: Config, findings: Findings) -> str | None:
    url = profile_url(record.zone_file)
    if url is None:
        said = "the name has none" if not record.zone_file else "it names no profile (`_http._tcp URI`)"
        findings.fail("zone file", said, "The name's owner must set one that has the profile's URL in it.")
        return None
    try:
        parsed = read_url(url)
        if str(parsed.origin()) not in config.outgoing_allow:
            check_stranger_url(parsed)
    except NotAllowed as reason:
        findings.fail("zone file", f"the profile's URL {quoted(url)} {reason}", "The server fetches no other.")
        return None
    findings.ok("zone file", f"the profile is at {quoted(url)}")
    return url


async def _fetched(url: str, fetcher: Fetcher, findings: Findings) -> bytes | None:
    try:
        return await fetcher.get(url, max_bytes=MAX_PROFILE_BYTES)
    except Absent:
        findings.fail("profile", f"there is none at {quoted(url)}", "The name's owner publishes it.")
    except Unreachable as error:  # only here, the operator sees the original error
        said = why(error.__context__) if error.__context__ else "failed, or answered something else"
        findings.fail("profile", f"{quoted(url)} {said}", "Try later; then ask whoever runs that host.")
    return None
