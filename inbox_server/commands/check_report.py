"""How findings are reported: one line for each, or all of them as JSON."""

import argparse
import json
from collections import Counter
from dataclasses import asdict
from typing import Final

from inbox_server.checks.results import Finding, Findings
from inbox_server.commands.terminal import tell

_COUNTED: Final = {"ok": "passed", "warning": "with a warning", "failed": "failed", "skipped": "skipped"}
_SHOWN: Final = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}


def add_json(command: argparse.ArgumentParser, what: str = "one JSON object at the end") -> None:
    command.add_argument("--json", action="store_true", help=f"print {what}, for scripts")


def findings_for(options: argparse.Namespace) -> Findings:
    """Findings that are printed as they come, unless the user asked for JSON."""
    return Findings(_hold if options.json else _tell)


def _hold(_: Finding) -> None:
    """For JSON: everything at the end."""


def _tell(finding: Finding) -> None:
    said = finding.said if not finding.advice or finding.said.endswith((".", "?")) else f"{finding.said}."
    said = f"{said} {finding.advice}".rstrip()
    tell(f"{_SHOWN[finding.verdict]:<8} {finding.check}: {said}")


def conclude(findings: Findings, options: argparse.Namespace, subject: str) -> int:
    """The last line, or the JSON; the exit code: 0 when nothing failed, else 1."""
    if options.json:
        checks = [asdict(finding) for finding in findings.all]
        tell(json.dumps({"checked": subject, "ok": not findings.failed, "checks": checks}))
    else:
        counts = Counter[str](finding.verdict for finding in findings.all)
        told = [f"{counts[verdict]} {word}" for verdict, word in _COUNTED.items() if counts[verdict]]
        tell(f"\n{', '.join(told)}.")
    return 1 if findings.failed else 0
