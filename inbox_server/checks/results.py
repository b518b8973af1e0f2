"""The result of a check, in words: what was found, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

Verdict = Literal["ok", "warning", "failed", "skipped"]

_MOST_QUOTED: Final = 200  # of somebody else's text


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. `advice` says what to do next; it is empty if there is nothing to do."""

    check: str
    verdict: Verdict
    said: str
    advice: str = ""


class Findings:
    """The results so far, in order. Calls `told` with each at once, because some checks take seconds."""

    def __init__(self, told: Callable[[Finding], None]) -> None:
        self._told = told
        self.all: list[Finding] = []

    @property
    def failed(self) -> int:
        return sum(finding.verdict == "failed" for finding in self.all)

    def at(self, where: str) -> "Findings":
        """Findings that come here too, with `where` before what was seen."""
        return Findings(lambda each: self._note(replace(each, said=f"{where}: {each.said}")))

    def ok(self, check: str, said: str) -> None:
        self._note(Finding(check, "ok", said))

    def warn(self, check: str, said: str, advice: str) -> None:
        self._note(Finding(check, "warning", said, advice))

    def fail(self, check: str, said: str, advice: str) -> None:
        self._note(Finding(check, "failed", said, advice))

    def skip(self, check: str, said: str, advice: str = "") -> None:
        self._note(Finding(check, "skipped", said, advice))

    def _note(self, finding: Finding) -> None:
        self.all.append(finding)
        self._told(finding)


def quoted(text: object) -> str:
    """Somebody else's text, made safe for a terminal: one short line without control characters."""
    shown = "".join(character if character.isprintable() else "?" for character in str(text))
    return shown if len(shown) <= _MOST_QUOTED else shown[:_MOST_QUOTED] + "…"
