"""What holds for every answer, watched on all answers of a run: headers, refusals, types."""

from collections import Counter
from typing import Final

from inbox_server.checks.answers import listed_in
from inbox_server.checks.results import quoted
from inbox_server.conformance.cases import Failed, NotRun
from inbox_server.conformance.replies import Reply

CODES: Final = {
    "bad_request": 400,
    "bad_cursor": 400,
    "no_token": 401,
    "bad_token": 401,
    "gaia_token": 401,
    "not_accepted": 403,
    "name_unproven": 403,
    "not_registered": 403,
    "suspended": 403,
    "not_found": 404,
    "no_inbox": 404,
    "wrong_method": 405,
    "stale_token": 409,
    "ticket_spent": 409,
    "too_slow": 408,
    "cursor_gone": 410,
    "too_large": 413,
    "wrong_host": 421,
    "ttl_passed": 422,
    "too_many": 429,
    "internal": 500,
    "names_unavailable": 503,
    "channel_unavailable": 503,
    "stopping": 503,
    "draining": 503,
    "moving": 503,
    "clock_jumped": 503,
    "inbox_full": 507,
    "storage_full": 507,
}
CAPABILITIES: Final = "/.well-known/message-inbox"
STREAM: Final = "/v1/events"
_EXPOSED: Final = {"date", "retry-after", "www-authenticate"}
_HAVE_RETRY_AFTER: Final = frozenset({429, 503, 507})


class Observed:
    """The first answer that broke each rule, and how many answers each rule was held against."""

    def __init__(self) -> None:
        self._broken: dict[str, str] = {}
        self._held: Counter[str] = Counter()

    def note(self, reply: Reply) -> None:
        self._hold("allow-origin", reply, _wrong_origin(reply))
        exposed = listed_in(reply.answer.headers, "Access-Control-Expose-Headers")
        self._hold("expose", reply, f"lacks {', '.join(sorted(_EXPOSED - exposed))}" if not exposed >= _EXPOSED else "")
        self._hold("credentials", reply, _there(reply, "Access-Control-Allow-Credentials"))
        self._hold("cookies", reply, _there(reply, "Set-Cookie"))
        self._hold("date", reply, "" if "Date" in reply.headers else "has no Date")
        if not reply.asked.endswith(CAPABILITIES):
            stored = "no-store" not in listed_in(reply.answer.headers, "Cache-Control")
            self._hold("no-store", reply, "has no Cache-Control: no-store" if stored else "")
        if reply.status >= 400 and not reply.asked.startswith("HEAD "):
            self._note_refusal(reply)
        elif reply.status in (200, 201) and not reply.asked.endswith(STREAM):
            kind = reply.headers.get("Content-Type", "nothing").partition(";")[0].strip()
            self._hold("json", reply, "" if kind == "application/json" else f"is {quoted(kind)}")

    def _note_refusal(self, reply: Reply) -> None:
        self._hold("problem", reply, _wrong_problem(reply))
        if reply.status == 401:
            scheme = reply.headers.get("WWW-Authenticate", "")
            self._hold("authenticate", reply, "" if scheme.lower().startswith("bearer") else "has no such header")
        if reply.status in _HAVE_RETRY_AFTER:
            after = reply.headers.get("Retry-After", "")
            self._hold("retry-after", reply, "" if after.isdecimal() else f"has Retry-After {quoted(after)!r}")
        if reply.status == 405:
            self._hold("allow", reply, "" if reply.headers.get("Allow") else "has no Allow")

    def _hold(self, rule: str, reply: Reply, wrong: str) -> None:
        self._held[rule] += 1
        if wrong:
            self._broken.setdefault(rule, f"{reply.asked}, answered {reply.told}: {wrong}")

    def judge(self, rule: str) -> None:
        """Raises `Failed` with the first answer that broke a rule, or `NotRun` if there was none to look at."""
        if rule in self._broken:
            raise Failed(self._broken[rule])
        if not self._held[rule]:
            raise NotRun("no answer of this run was of that kind")


def _wrong_origin(reply: Reply) -> str:
    allowed = reply.answer.headers.getall("Access-Control-Allow-Origin", [])
    return "" if allowed == ["*"] else f"has Access-Control-Allow-Origin {', '.join(map(quoted, allowed)) or 'missing'}"


def _there(reply: Reply, header: str) -> str:
    return f"has {header}" if header in reply.headers else ""


def _wrong_problem(reply: Reply) -> str:
    kind, members = reply.headers.get("Content-Type", "nothing"), reply.members
    if kind.partition(";")[0].strip() != "application/problem+json":
        return f"is {quoted(kind)}, not application/problem+json"
    if reply.code not in CODES:
        return f"has a code that is not in the table: {quoted(reply.code)}"
    if CODES[reply.code] != reply.status or members.get("status") != reply.status:
        return f"does not go with the status that the table gives {reply.code}"
    if not all(isinstance(members.get(text), str) and members[text] for text in ("title", "detail")):
        return "lacks a title or a detail"
    return ""
