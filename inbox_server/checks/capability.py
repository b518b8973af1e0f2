"""What an app needs first: the server's origin, whether it answers, and its capability document."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

from yarl import URL

from inbox_server.checks.asking import Answer, NoAnswer, Server
from inbox_server.checks.results import Findings, quoted
from inbox_server.http.capabilities import PROTOCOL_VERSION
from inbox_server.identity.names import is_origin
from inbox_server.protocol.tokens import CLOCK_SKEW_SECONDS

CAPABILITY_PATH: Final = "/.well-known/message-inbox"
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server says about itself. `origin` is what it wants tokens to name, right or wrong."""

    origin: str
    registration: str
    skew_seconds: int


def check_origin(url: str, findings: Findings) -> bool:
    """Whether it can be asked at all."""
    if not is_origin(url):
        stripped = URL(url).origin() if _has_origin(url) else None
        advice = (
            f"Try {stripped}" if stripped and is_origin(str(stripped)) else "Give one such as https://inbox.example"
        )
        findings.fail(
            "origin", f"{quoted(url)} is not an origin: scheme and host in lower case, no path, no slash", advice
        )
        return False
    if url.startswith("http://") and not is_loopback(url):
        findings.warn(
            "origin",
            f"{url} is plain HTTP: tokens and message IDs can be read on the way, and pages on https may not call it",
            "Put a TLS proxy in front (docs/install.md).",
        )
    else:
        findings.ok("origin", url)
    return True


def _has_origin(url: str) -> bool:
    try:
        return URL(url).scheme in ("http", "https") and bool(URL(url).host)
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    host = URL(url).host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def check_capabilities(server: Server, findings: Findings) -> Capabilities | None:
    """Check that an inbox server of this version answers for this origin; None if further checks are useless."""
    try:
        answer = await server.ask("GET", CAPABILITY_PATH)
    except NoAnswer as error:
        findings.fail("reachable", f"{server.url} {error}", "Is the server up, its name right, its proxy running?")
        return None
    problem = _not_a_server(answer)
    if problem:
        findings.fail("reachable", *problem)
        return None
    findings.ok("reachable", f"{server.url} answers")
    return _read(server.url, answer.members, findings)


def _not_a_server(answer: Answer) -> tuple[str, str] | None:
    """What is wrong with an answer, and what to do; None if it has a JSON document to read."""
    if answer.status == 200 and answer.members:
        return None
    if answer.status == 200:
        kind = quoted(answer.headers.get("Content-Type", "no type"))
        return (
            f"it answers {CAPABILITY_PATH} with {kind}, not with JSON",
            "Another site is at this URL: check the proxy.",
        )
    if answer.status in _REDIRECT_STATUSES:
        target = quoted(answer.headers.get("Location", "nowhere"))
        return (
            f"it redirects to {target}, which apps do not follow",
            "Use the URL that it leads to, or end the redirect.",
        )
    if answer.code == "wrong_host":
        return (
            "the server does not answer for this host (421)",
            "Its public_url has another host, or the proxy changes Host: pass it on, or name it in server.hosts.",
        )
    if answer.status in _GATEWAY_STATUSES and not answer.code:
        return (
            f"a proxy answers {answer.status}, but no server behind it",
            "Start the server; check the proxy's upstream.",
        )
    if answer.status == 401:
        return "something in front asks for a password of its own (401)", "Turn that off for this host."
    said = f" ({quoted(answer.code)})" if answer.code else ""
    return f"it answers {CAPABILITY_PATH} with {answer.status}{said}", "Is an inbox server behind this URL?"


def _read(url: str, document: Any, findings: Findings) -> Capabilities | None:
    if document.get("protocol") != "message-inbox" or not isinstance(document.get("origin"), str):
        findings.fail("capabilities", "the document is not a message inbox's", "Another service is at this URL.")
        return None
    version, origin, registration = document.get("version"), document["origin"], document.get("registration")
    if version != PROTOCOL_VERSION:
        said = f"it speaks version {quoted(version)} of the protocol, but this command version {PROTOCOL_VERSION}"
        findings.fail("capabilities", said, "Use the inbox-server of that version.")
        return None
    software = quoted(document.get("software", "unnamed software"))
    findings.ok("capabilities", f"version {version}, registration {quoted(registration)}, {software}")
    if document.get("draining") is True:
        advice = "Its operator ends that with `inbox-server drain --end`."
        findings.warn("draining", "the server takes no deliveries and no claims", advice)
    if origin == url:
        findings.ok("audience", f"tokens for {url} are for this server")
    else:
        findings.fail(
            "audience",
            f"the server calls itself {quoted(origin)}: every token that names {url} is refused",
            "Set server.public_url to the URL that apps use, and restart; or use the other URL.",
        )
    limits = document.get("limits")
    skew = limits.get("clock_skew_seconds") if isinstance(limits, dict) else None
    return Capabilities(
        origin if is_origin(origin) else url,
        registration if isinstance(registration, str) else "",
        skew if type(skew) is int else CLOCK_SKEW_SECONDS,
    )
