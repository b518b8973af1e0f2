"""Group `headers`: what browsers need on every answer, and what no cache may keep."""

import re
from typing import Final

from inbox_server.checks.answers import NEEDED, wrong_preflight
from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.observed import CAPABILITIES

GROUP: Final = Group("headers", "every-answer")
_PATHS: Final = (
    ("PUT", "/v1/inbox"),
    ("DELETE", "/v1/inbox"),
    ("POST", "/v1/messages"),
    ("GET", "/v1/messages"),
    ("POST", "/v1/messages/ack"),
    ("GET", "/v1/events"),
    ("PUT", "/v1/inbox/push"),
)
_CACHED_SECONDS: Final = 300


@GROUP.required("Preflights are answered 204, and allow", "`Authorization, Content-Type, Last-Event-ID`")
async def preflights_allow_what_clients_send(bench: Bench) -> None:
    """Before every request of the protocol, a browser's preflight is allowed, with every method and header."""
    for method, path in _PATHS:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(sorted(NEEDED))}
        reply = await bench.send("OPTIONS", path, headers=asked)
        if wrong := wrong_preflight(reply.expect(204).answer):
            raise Failed(f"{reply.asked}, before {method}: {wrong}")


@GROUP.required("Every answer, of any status, has `Access-Control-Allow-Origin: *`", last=True)
async def every_answer_is_for_every_origin(bench: Bench) -> None:
    """Every answer of the run, refusals and streams too, had one `Access-Control-Allow-Origin`, and it was `*`."""
    await bench.second()
    bench.observed.judge("allow-origin")


@GROUP.required("exposes `Date`, `Retry-After` and `WWW-Authenticate`", last=True)
async def every_answer_exposes_its_headers(bench: Bench) -> None:
    """Every answer of the run let pages read `Date`, `Retry-After` and `WWW-Authenticate`."""
    await bench.second()
    bench.observed.judge("expose")


@GROUP.required("Credentials are never allowed, because there are no cookies.", last=True)
async def no_answer_has_to_do_with_cookies(bench: Bench) -> None:
    """No answer of the run allowed credentials, and none set a cookie."""
    await bench.second()
    bench.observed.judge("credentials")
    bench.observed.judge("cookies")


@GROUP.required("`Cache-Control` is `no-store`, except for the capability document.", last=True)
async def no_answer_may_be_kept(bench: Bench) -> None:
    """Every answer of the run but the capability document was `no-store`."""
    await bench.second()
    bench.observed.judge("no-store")


@GROUP.required("exposes `Date`, `Retry-After` and `WWW-Authenticate`", last=True)
async def every_answer_has_a_date(bench: Bench) -> None:
    """Every answer of the run had a `Date`, which clients compare their clocks with."""
    await bench.second()
    bench.observed.judge("date")


@GROUP.required("It may be cached for 5 minutes.", section="get-well-knownmessage-inbox")
async def the_capability_document_is_kept_for_minutes(bench: Bench) -> None:
    """The capability document may not be kept for longer than 5 minutes."""
    caching = (await bench.send("GET", CAPABILITIES)).expect(200).headers.get("Cache-Control", "")
    for seconds in re.findall(r"max-age=(\d+)", caching):
        if int(seconds) > _CACHED_SECONDS:
            raise Failed(f"Cache-Control lets the capability document be kept for {seconds} s")
    if "max-age" not in caching and "no-" not in caching:
        raise Failed("Cache-Control does not say for how long the capability document may be kept")
