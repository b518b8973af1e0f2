"""What apps need from every answer: tokens that arrive, a clock, CORS, no caching."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from multidict import CIMultiDictProxy

from inbox_server.checks.asking import APP, Answer, NoAnswer, Server
from inbox_server.checks.capability import Capabilities
from inbox_server.checks.results import Findings, quoted
from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import TOKEN_SECONDS, owner_token
from inbox_server.clock import UnixTime

_LONG_AGO: Final = UnixTime(1)  # every server refuses a token this old, and the refusal gives the server's time
HALF_A_SECOND: Final = 0.5  # times in answers are whole seconds, rounded down
_EXPOSED: Final = frozenset({"date", "retry-after", "www-authenticate"})
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE"})
NEEDED: Final = frozenset({"authorization", "content-type", "last-event-id"})
_PREFLIGHTS: Final = (("PUT", "/v1/inbox"), ("GET", "/v1/events"))
_NTP: Final = "Set both clocks by NTP (`timedatectl status` shows whether they are)."


@dataclass(frozen=True, slots=True)
class Times:
    """How to sign for this server: `offset_seconds` is its clock's lead, if tokens do not allow that much."""

    server: Server
    audience: str
    offset_seconds: int

    def now(self) -> UnixTime:
        return UnixTime(int(self.server.clock()) + self.offset_seconds)


async def check_answers(server: Server, capabilities: Capabilities, key: AppKey, findings: Findings) -> Times | None:
    """Run all these checks with a key that has no inbox; None if no token arrives."""
    token = owner_token(key, scope="read", app=APP, inbox=capabilities.origin, now=_LONG_AGO, seconds=TOKEN_SECONDS)
    try:
        refused = await server.ask("GET", "/v1/messages", token=token)
    except NoAnswer as error:
        findings.fail("authorization", f"a request with a token {error}", "Does something in front filter headers?")
        return None
    arrived = _check_authorization(refused, findings)
    offset = _check_clock(refused, capabilities.skew_seconds, findings)
    _check_cors(refused, findings)
    await _check_preflights(server, findings)
    _check_caching(refused, findings)
    if not arrived:
        return None
    return Times(server, capabilities.origin, offset)


def _check_authorization(refused: Answer, findings: Findings) -> bool:
    if refused.code == "bad_token" and type(refused.members.get("now")) is int:
        findings.ok("authorization", "tokens arrive, and an old one is refused")
        return True
    if refused.code == "no_token":
        findings.fail(
            "authorization",
            "the token does not arrive: something in front takes the Authorization header away",
            "Let the proxy pass Authorization on to the server (Squid: `login=PASSTHRU`).",
        )
    else:
        detail = quoted(refused.members.get("detail", "")) or "without a reason"
        findings.fail(
            "authorization",
            f"an old token is answered {refused.status} {quoted(refused.code)}: {detail}",
            "Does something in front change the Authorization header, ask for a password of its own, or put its own"
            " pages in the place of refusals (Apache: `ProxyErrorOverride Off`)?",
        )
    return False


def _check_clock(refused: Answer, skew: int, findings: Findings) -> int:
    """The lead of the server's clock if that is more than tokens allow, else 0."""
    stated, dated = refused.members.get("now"), date_of(refused.headers)
    if type(stated) is not int and dated is None:
        findings.fail("clock", "the answers have no time: no Date header", "Let the proxy pass Date on.")
        return 0
    told = stated if type(stated) is int else dated or 0
    lead = round(told + HALF_A_SECOND - refused.moment)
    if abs(lead) > skew:
        side = "ahead of" if lead > 0 else "behind"
        said = f"the server's clock is {abs(lead)} s {side} this machine's, and tokens allow {skew} s"
        findings.fail("clock", said, _NTP)
        return lead
    if dated is None or abs(dated - refused.moment) > skew:
        said = "it has no Date header" if dated is None else f"its Date header is {round(dated - refused.moment)} s off"
        findings.warn(
            "clock", f"the server's clock is right, but {said}", "The proxy writes that header: set its clock."
        )
    else:
        findings.ok("clock", f"{abs(lead)} s from this machine's; tokens allow {skew} s")
    return 0


def date_of(headers: Mapping[str, str]) -> float | None:
    """The time in a Date header, if it is there and readable."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _check_cors(answer: Answer, findings: Findings) -> None:
    """Checks a refusal, because proxies that add headers often add them only to successes."""
    allowed = answer.headers.getall("Access-Control-Allow-Origin", [])
    exposed = listed_in(answer.headers, "Access-Control-Expose-Headers")
    advice = "The server sends these headers itself: let them pass, once, on every status."
    if allowed != ["*"]:
        said = "is there twice, which browsers refuse" if len(allowed) > 1 else "is missing, so no page may read it"
        if len(allowed) == 1:
            said = f"is {quoted(allowed[0])}, not *"
        findings.fail("cors", f"Access-Control-Allow-Origin {said}", advice)
    elif not exposed >= _EXPOSED:
        missing = ", ".join(sorted(_EXPOSED - exposed))
        findings.fail("cors", f"Access-Control-Expose-Headers lacks {missing}", advice)
    elif "Access-Control-Allow-Credentials" in answer.headers:
        findings.fail("cors", "Access-Control-Allow-Credentials is there; nothing here has cookies", advice)
    else:
        findings.ok("cors", "pages on any origin may read answers, refusals too")


async def _check_preflights(server: Server, findings: Findings) -> None:
    for method, path in _PREFLIGHTS:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(sorted(NEEDED))}
        try:
            wrong = wrong_preflight(await server.ask("OPTIONS", path, headers=asked))
        except NoAnswer as error:
            wrong = str(error)
        if wrong:
            findings.fail(
                "preflight",
                f"OPTIONS {path} (before {method}): {wrong}",
                "Let the proxy pass OPTIONS on to the server, which answers preflights itself.",
            )
            return
    findings.ok("preflight", "browsers may send Authorization and Last-Event-ID, with every method")


def wrong_preflight(answer: Answer) -> str:
    """What a browser would miss in the answer to a preflight; empty if nothing."""
    if not 200 <= answer.status < 300:
        return f"answered {answer.status}"
    if answer.headers.getall("Access-Control-Allow-Origin", []) != ["*"]:
        return "Access-Control-Allow-Origin is not one *"
    headers = listed_in(answer.headers, "Access-Control-Allow-Headers")
    methods = {method.upper() for method in listed_in(answer.headers, "Access-Control-Allow-Methods")}
    if not headers >= NEEDED:  # a * in this header does not cover Authorization (Fetch standard)
        return f"Access-Control-Allow-Headers lacks {', '.join(sorted(NEEDED - headers))}"
    return "" if methods >= _METHODS else f"Access-Control-Allow-Methods lacks {', '.join(sorted(_METHODS - methods))}"


def listed_in(headers: CIMultiDictProxy[str], name: str) -> set[str]:
    """The values of a header that holds a list, in lower case."""
    values: list[Any] = headers.getall(name, [])
    return {part.strip().lower() for value in values for part in value.split(",")}


def _check_caching(answer: Answer, findings: Findings) -> None:
    wrong = wrong_caching(answer)
    if wrong:
        findings.fail("caching", wrong, "Turn caching off for this host, and pass Cache-Control on.")
    else:
        findings.ok("caching", "answers are marked no-store")


def wrong_caching(answer: Answer) -> str:
    """The sign that a cache in between keeps, or may keep, a private answer; empty if there is none."""
    if "no-store" not in listed_in(answer.headers, "Cache-Control"):
        return "Cache-Control is not no-store, so something in between may keep private answers"
    if answer.headers.get("Age", "0").strip() != "0":  # a proxy that only passes answers on may add 0, as Varnish does
        return "an Age header says that a private answer came from a cache"
    return ""
