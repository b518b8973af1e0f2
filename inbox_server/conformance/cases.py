"""What a case is: a rule of the protocol page, its sentences, and a function that sees whether a server follows it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Level = Literal["required", "recommended"]
Verdict = Literal["passed", "failed", "not run"]
Run = Callable[..., Awaitable[None]]

PAGE: Final = "docs/protocol.md"


class Failed(Exception):
    """The server does not follow the rule; the text says what it did instead."""


class NotRun(Exception):
    """The case cannot be run here; the text says why, and what would let it run."""


@dataclass(frozen=True, slots=True)
class Case:
    """`sentences` are quoted from the section of the page. `run` gets the bench, and `inboxes` inboxes.

    `named`: the first inbox's owner has a name. `senders`: how many more identities with names it needs.
    `feature`: run only if the capability document lists it. `part`: run only if the document has this member.
    `slow`: it waits for most of a minute, or more. `uses_up`: it deletes its inbox, so all others come before it.
    `last`: it judges the answers that all others got.
    """

    group: str
    name: str
    rule: str
    section: str
    sentences: tuple[str, ...]
    level: Level
    run: Run
    inboxes: int
    named: bool = False
    senders: int = 0
    feature: str = ""
    part: str = ""
    slow: bool = False
    uses_up: bool = False
    last: bool = False

    @property
    def id(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def link(self) -> str:
        return f"{PAGE}#{self.section}"


@dataclass(frozen=True, slots=True)
class Result:
    """`said` is what the server did, or why the case was not run; empty when it passed."""

    case: Case
    verdict: Verdict
    said: str
    seconds: float

    @property
    def breaks(self) -> bool:
        """Whether the server does not conform because of this."""
        return self.verdict == "failed" and self.case.level == "required"


@dataclass(frozen=True, slots=True)
class Group:
    """The cases of one file, in its order. `section` is the anchor on the page of those that name no other."""

    name: str
    section: str
    cases: list[Case] = field(default_factory=list)

    def required(self, *sentences: str, section: str = "", **more: Any) -> Callable[[Run], Run]:
        """Declare a case whose failure means that the server does not conform."""
        return self._declare("required", sentences, section, more)

    def recommended(self, *sentences: str, section: str = "", **more: Any) -> Callable[[Run], Run]:
        """Declare a case whose failure is reported as a warning."""
        return self._declare("recommended", sentences, section, more)

    def _declare(
        self, level: Level, sentences: tuple[str, ...], section: str, more: dict[str, Any]
    ) -> Callable[[Run], Run]:
        """A decorator for a function whose parameters are `bench`, if it needs it, and the inboxes that it needs."""

        def declare(run: Run) -> Run:
            name = run.__name__.replace("_", "-")
            rule = " ".join((run.__doc__ or "").split())
            parameters = list(inspect.signature(run).parameters)
            takes_bench = parameters[:1] == ["bench"]

            async def run_with(bench: Any, *lent: Any) -> None:
                await run(*[bench][:takes_bench], *lent)

            inboxes = len(parameters) - takes_bench
            case = Case(self.name, name, rule, section or self.section, sentences, level, run_with, inboxes, **more)
            self.cases.append(case)
            return run

        return declare
