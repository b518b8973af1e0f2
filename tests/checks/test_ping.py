"""`inbox-server ping`: what it says of a server that is right, of one behind a bad proxy, and of what is none."""

import argparse
import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from inbox_server.checks.capability import check_origin
from inbox_server.checks.outside import check_server
from inbox_server.checks.results import Finding, Findings, quoted
from inbox_server.cli import main
from inbox_server.clock import UnixTime, system_clock
from inbox_server.commands.check_report import conclude, findings_for
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.outgoing.failures import why
from inbox_server.store.sqlite.opening import add_invite
from inbox_server.world.local_world import free_socket, running_world
from tests.support.bent import Bend, Headers, answering, behind, capability_document, self_signed
from tests.support.requests import SECRET
from tests.support.secrecy import told
from tests.support.serving import free_port

SECONDS = 1.0
FIRST = ["origin", "reachable", "capabilities", "audience", "authorization", "clock", "cors", "preflight", "caching"]
STEPS = ["claim", "deliver", "events", "waiting", "list", "acknowledge"]


async def ping(
    url: str, *, invite: str | None = None, seconds: float = SECONDS, hold_seconds: int = 0
) -> dict[str, Finding]:
    """What was found, by check."""
    findings = Findings(lambda _: None)
    await check_server(
        url,
        findings,
        invite=invite,
        seconds=seconds,
        hold_seconds=hold_seconds,
        clock=time.time,
        random_bytes=secrets.token_bytes,
    )
    checks = [finding.check for finding in findings.all]
    assert len(set(checks)) == len(checks)
    assert [f for finding in findings.all for f in told(f"{finding.said} {finding.advice}")] == []
    assert all(finding.advice for finding in findings.all if finding.verdict in ("failed", "warning"))
    return {finding.check: finding for finding in findings.all}


def of_verdict(found: dict[str, Finding], verdict: str) -> list[str]:
    return [finding.check for finding in found.values() if finding.verdict == verdict]


async def test_a_server_that_is_right_passes_every_check_and_keeps_nothing(tmp_path: Path) -> None:
    async with behind(tmp_path) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "ok") == list(found) == [*FIRST, *STEPS, "clean-up"]
        assert proxy.inboxes() == 0


def without(name: str) -> Callable[[Headers], None]:
    def bend(headers: Headers) -> None:
        headers.popall(name, None)

    return bend


def with_header(name: str, value: str) -> Callable[[Headers], None]:
    def bend(headers: Headers) -> None:
        headers[name] = value

    return bend


def twice(headers: Headers) -> None:
    headers.add("Access-Control-Allow-Origin", "*")


BENT = {
    "authorization": (Bend(request=without("Authorization")), "the token does not arrive"),
    "cors": (Bend(answer=without("Access-Control-Allow-Origin")), "no page may read it"),
    "cors twice": (Bend(answer=twice), "twice, which browsers refuse"),
    "cors one": (Bend(answer=with_header("Access-Control-Allow-Origin", "https://a.example")), "https://a.example"),
    "cors exposed": (Bend(answer=without("Access-Control-Expose-Headers")), "lacks date, retry-after, www-auth"),
    "cors cookies": (Bend(answer=with_header("Access-Control-Allow-Credentials", "true")), "nothing here has cookies"),
    "preflight": (Bend(methods=frozenset({"GET", "POST", "PUT", "DELETE"})), "answered 405"),
    "preflight star": (Bend(answer=with_header("Access-Control-Allow-Headers", "*")), "lacks authorization"),
    "preflight verbs": (Bend(answer=with_header("Access-Control-Allow-Methods", "GET, POST")), "lacks DELETE, PUT"),
    "caching": (Bend(answer=with_header("Cache-Control", "max-age=60")), "not no-store"),
    "claim": (Bend(methods=frozenset({"GET", "POST", "OPTIONS"})), "not an inbox server, instead of 201"),
    "deliver": (Bend(methods=frozenset({"GET", "PUT", "DELETE", "OPTIONS"})), "not an inbox server, instead of 201"),
    "events": (Bend(buffers=True), "only when the stream had ended"),
    "events cut": (Bend(answer=with_header("Content-Type", "text/plain")), "comes as text/plain"),
    "waiting": (Bend(squeezes=True), "what waits is not told while the stream is open"),
    "acknowledge": (Bend(caches=True), "listed again after it was acknowledged"),
    "clean-up": (Bend(methods=frozenset({"GET", "POST", "PUT", "OPTIONS"})), "may still be there"),
}


@pytest.mark.parametrize(("name", "bend", "words"), [(name, *bent) for name, bent in BENT.items()], ids=list(BENT))
async def test_what_a_proxy_does_wrong_is_named(tmp_path: Path, name: str, bend: Bend, words: str) -> None:
    async with behind(tmp_path, bend) as proxy:
        found = await ping(proxy.url)
        check = name.split(maxsplit=1)[0]
        assert found[check].verdict == "failed"
        assert words in found[check].said
        assert proxy.inboxes() == (check == "clean-up")


async def test_an_age_of_zero_is_no_cache_and_another_is(tmp_path: Path) -> None:
    for age, verdict in (("0", "ok"), ("7", "failed")):
        async with behind(tmp_path / age, Bend(answer=with_header("Age", age))) as proxy:
            assert (await ping(proxy.url))["caching"].verdict == verdict


async def test_events_that_come_late_are_a_warning(tmp_path: Path) -> None:
    async with behind(tmp_path, Bend(delay_seconds=0.2)) as proxy:  # as HAProxy does
        found = await ping(proxy.url)
    assert (of_verdict(found, "warning"), of_verdict(found, "failed")) == (["events"], [])
    assert "ms after the delivery was answered" in found["events"].said
    assert "http-no-delay" in found["events"].advice


async def test_one_answer_is_held(tmp_path: Path) -> None:
    async with behind(tmp_path) as proxy:
        assert (await ping(proxy.url, hold_seconds=1))["held"].verdict == "ok"
    async with behind(tmp_path / "cut", Bend(holds="/v1/messages", holds_query="wait")) as proxy:
        held = (await ping(proxy.url, hold_seconds=1))["held"]
        assert held.verdict == "failed"
        assert "HAProxy" in held.advice
        assert proxy.inboxes() == 0


async def test_a_step_that_failed_leaves_the_later_ones_out_and_the_inbox_is_deleted(tmp_path: Path) -> None:
    async with behind(tmp_path, BENT["deliver"][0]) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "failed") == ["deliver"]
        assert of_verdict(found, "skipped") == ["events", "waiting", "list", "acknowledge"]
        assert found["clean-up"].verdict == "ok"
        assert proxy.inboxes() == 0


async def test_without_tokens_the_steps_that_need_them_are_skipped(tmp_path: Path) -> None:
    async with behind(tmp_path, BENT["authorization"][0]) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "failed") == ["authorization"]
        assert of_verdict(found, "skipped") == STEPS


async def test_a_server_with_another_origin_is_told_and_checked_all_the_same(tmp_path: Path) -> None:
    async with behind(
        tmp_path, Bend(request=with_header("Host", "inbox.example")), public_url="https://inbox.example"
    ) as p:
        found = await ping(p.url)
        assert of_verdict(found, "failed") == ["audience"]
        assert "https://inbox.example" in found["audience"].said
        assert p.inboxes() == 0


async def test_a_proxy_that_changes_the_host_is_named(tmp_path: Path) -> None:
    async with behind(tmp_path, Bend(request=with_header("Host", "upstream.example"))) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "failed") == ["reachable"]
        assert "421" in found["reachable"].said
        assert "Host" in found["reachable"].advice


@pytest.mark.parametrize(
    ("lead", "side"), [(300, "300 s ahead of"), (-300, "300 s behind"), (61, "61 s"), (-61, "61 s")]
)
async def test_a_clock_that_is_off_is_told_and_the_rest_goes_by_the_servers(
    tmp_path: Path, lead: int, side: str
) -> None:
    async with behind(tmp_path, clock=lambda: UnixTime(system_clock() + lead)) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "failed") == ["clock"]
        assert side.rsplit(maxsplit=1)[-1] in found["clock"].said
        assert found["clean-up"].verdict == "ok"


@pytest.mark.parametrize("lead", [-50, 0, 50])
async def test_a_clock_within_the_skew_is_fine(tmp_path: Path, lead: int) -> None:
    async with behind(tmp_path, clock=lambda: UnixTime(system_clock() + lead)) as proxy:
        assert of_verdict(await ping(proxy.url), "failed") == []


async def test_a_date_header_that_is_off_is_the_proxys(tmp_path: Path) -> None:
    bend = Bend(answer=with_header("Date", "Fri, 01 Jan 2021 00:00:00 GMT"))
    async with behind(tmp_path, bend) as proxy:
        clock = (await ping(proxy.url))["clock"]
        assert clock.verdict == "warning"
        assert "Date header" in clock.said


LISTED = {"mode": "listed", "listed": ["bob.id"]}
NAMES = {"mode": "open", "open_to_keys": False}


@pytest.mark.parametrize(
    ("registration", "words"),
    [(LISTED, "listed identities"), (NAMES, "owners with a name"), ({"mode": "invite"}, "--invite")],
)
async def test_where_registration_does_not_allow_it_the_steps_are_skipped_with_the_reason(
    tmp_path: Path, registration: dict[str, Any], words: str
) -> None:
    async with behind(tmp_path, registration=registration) as proxy:
        found = await ping(proxy.url)
        assert of_verdict(found, "failed") == []
        assert of_verdict(found, "skipped") == STEPS
        assert words in found["claim"].said
        assert proxy.inboxes() == 0


async def test_a_server_that_drains_is_named_and_nothing_fails(tmp_path: Path) -> None:
    async with running_world(tmp_path, clock=system_clock) as world:
        await world.store.operating.drain(on=True)
        found = await ping(world.inbox_url)
        assert of_verdict(found, "failed") == []
        assert of_verdict(found, "warning") == ["draining"]
        assert of_verdict(found, "skipped") == STEPS
        assert "lets it take nothing new" in found["claim"].said


async def test_an_invite_lets_the_throw_away_inbox_in_once(tmp_path: Path) -> None:
    hashes, code = KeyedHash(SECRET), "an-invite-that-is-good-once"
    async with behind(tmp_path, registration={"mode": "invite"}) as proxy:
        expires = UnixTime(system_clock() + 1000)
        await add_invite(proxy.data, hashes.invite(code), expires=expires, check_value=hashes.check_value())
        found = await ping(proxy.url, invite=code)
        assert of_verdict(found, "ok") == list(found)
        assert proxy.inboxes() == 0
        again = await ping(proxy.url, invite=code)
        assert of_verdict(again, "failed") == ["claim"]
        assert "unused `invite` code" in again["claim"].said
        assert "clean-up" not in again
        assert code not in str(again)


@pytest.mark.parametrize("code", ["-zwievn4V3dljZXA8HGk8g", "--quick8HGk8g", "-h-5"])
async def test_an_invite_may_begin_as_an_option_does(tmp_path: Path, code: str) -> None:
    hashes, expires = KeyedHash(SECRET), UnixTime(system_clock() + 1000)
    async with behind(tmp_path, registration={"mode": "invite"}) as proxy:
        await add_invite(proxy.data, hashes.invite(code), expires=expires, check_value=hashes.check_value())
        command = await _command("ping", proxy.url, "--invite", code, "--quick")
        said, errors = await command.communicate()
    assert command.returncode == 0, said + errors


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://inbox.example/", "https://inbox.example"),
        ("https://Inbox.example/v1", "https://inbox.example"),
        ("inbox.example", "https://inbox.example"),
        ("ftp://inbox.example", "https://inbox.example"),
        ("https://[", "https://inbox.example"),
        ("", "https://inbox.example"),
    ],
)
async def test_what_is_no_origin_is_not_asked(url: str, advice: str) -> None:
    found = await ping(url)
    assert of_verdict(found, "failed") == list(found) == ["origin"]
    assert advice in found["origin"].advice


def test_plain_http_is_for_this_machine_only() -> None:
    findings = Findings(lambda _: None)
    for url in ("http://127.0.0.1:8710", "http://[::1]:8710", "http://localhost", "https://inbox.example"):
        assert check_origin(url, findings)
    assert check_origin("http://inbox.example", findings)
    assert [finding.verdict for finding in findings.all] == ["ok"] * 4 + ["warning"]


@pytest.mark.parametrize(
    ("answer", "check", "words"),
    [
        ({"body": "<html>", "Content_Type": "text/html"}, "reachable", "text/html, not with JSON"),
        ({"body": "[" * 5000}, "reachable", "not with JSON"),
        ({"body": "x" * 300_000}, "reachable", "more than any answer"),
        (
            {"status": 301, "Location": "https://www.inbox.example/\x1b"},
            "reachable",
            "redirects to https://www.inbox.ex",
        ),
        ({"status": 502, "body": "bad gateway"}, "reachable", "no server behind it"),
        ({"status": 401, "WWW_Authenticate": "Basic"}, "reachable", "a password of its own"),
        ({"status": 404}, "reachable", "with 404"),
        ({"body": '{"a": 1}'}, "capabilities", "not a message inbox's"),
        ({"body": capability_document(origin="https://a.example", version=2)}, "capabilities", "version 2"),
        ({"body": capability_document()}, "capabilities", "not a message inbox's"),
        ({"body": capability_document(origin="https://a.example")}, "authorization", "answered 200"),
    ],
)
async def test_what_is_no_inbox_server_is_told(answer: dict[str, Any], check: str, words: str) -> None:
    location = answer.get("Location", "")
    async with answering(**{**answer, **({"Location": location[:-1]} if location else {})}) as url:
        found = await ping(url)
        assert found[check].verdict == "failed"
        assert words in found[check].said


async def test_a_port_where_nothing_listens_is_told() -> None:
    found = await ping(f"http://127.0.0.1:{free_port()}")
    assert found["reachable"].verdict == "failed"
    assert "refuses connections" in found["reachable"].said


async def test_a_server_that_hangs_is_told_in_time() -> None:
    with free_socket() as bound:  # the system takes the connection, and nobody answers
        bound.listen()
        found = await ping(f"http://127.0.0.1:{bound.getsockname()[1]}", seconds=0.2)
    assert "did not answer in time" in found["reachable"].said


async def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    async with answering(context=self_signed(tmp_path)) as url:
        found = await ping(url)
    assert "certificate that browsers will not take: self" in found["reachable"].said


async def test_plain_http_at_an_https_url_is_told_and_the_other_way_round(tmp_path: Path) -> None:
    async with answering() as url:
        assert "perhaps it is plain HTTP" in (await ping(url.replace("http://", "https://")))["reachable"].said
    async with answering(context=self_signed(tmp_path)) as url:
        assert (await ping(url.replace("https://", "http://")))["reachable"].verdict == "failed"


def test_a_name_that_does_not_resolve_is_told() -> None:
    key = ConnectionKey("inbox.example", 443, True, True, None, None, None)
    assert "does not resolve" in why(aiohttp.ClientConnectorDNSError(key, OSError(-2, "not known")))


def test_nothing_that_a_server_says_steers_the_terminal() -> None:
    assert quoted("a\x1b[2Jb\r\n\u202ec") == "a?[2Jb???c"
    assert len(quoted("x" * 1000)) == 201


async def _command(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inbox_server", *arguments, stdout=pipe, stderr=pipe
    )


async def test_the_command_says_each_check_on_a_line_and_exits_with_0(tmp_path: Path) -> None:
    async with behind(tmp_path) as proxy:
        command = await _command("ping", proxy.url, "--quick")
        said, errors = await command.communicate()
    lines = said.decode().splitlines()
    assert [line.split()[0] for line in lines[:16]] == ["ok"] * 16
    assert lines[16:] == ["", "16 passed."]
    assert (command.returncode, errors) == (0, b"")


async def test_the_command_tells_scripts_in_json_and_exits_with_1() -> None:
    command = await _command("ping", f"http://127.0.0.1:{free_port()}", "--json")
    said, errors = await command.communicate()
    assert errors == b""
    document = json.loads(said)
    assert document["ok"] is False
    assert [(check["check"], check["verdict"]) for check in document["checks"]] == [
        ("origin", "ok"),
        ("reachable", "failed"),
    ]
    assert command.returncode == 1


@pytest.mark.parametrize("url", ["nonsense", "https://Inbox.example/", ""])
def test_what_is_not_a_url_is_a_usage_error(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", url]) == 2
    assert "FAILED   origin: " in capsys.readouterr().out


def test_a_check_s_words_and_advice_are_two_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    findings = findings_for(argparse.Namespace(json=False))
    for said in ("it is so", "it is so."):
        findings.fail("x", said, "Do it.")
        assert capsys.readouterr().out == "FAILED   x: it is so. Do it.\n"


def test_the_last_line_counts_what_was_not_tried_apart(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(json=False)
    findings = findings_for(options)
    findings.ok("a", "is so")
    findings.skip("b", "not tried")
    findings.skip("c", "not tried")
    assert conclude(findings, options, "x") == 0
    assert capsys.readouterr().out.endswith("\n1 passed, 2 skipped.\n")
    findings.fail("d", "is not so", "Do it.")
    findings.warn("e", "may be so", "Look.")
    assert conclude(findings, options, "x") == 1
    assert capsys.readouterr().out.endswith("\n1 passed, 1 with a warning, 1 failed, 2 skipped.\n")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_it_midway_deletes_the_inbox_first(tmp_path: Path, by: signal.Signals) -> None:
    async with behind(tmp_path, Bend(holds="/v1/messages/ack")) as proxy:
        command = await _command("ping", proxy.url, "--seconds", "60")
        await proxy.held.wait()
        assert proxy.inboxes() == 1
        command.send_signal(by)
        _, errors = await command.communicate()
        assert command.returncode == 128 + by
        assert errors == b""
        assert proxy.inboxes() == 0
