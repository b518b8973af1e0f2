"""A run's report: as JSON and as JUnit XML for programs, as Markdown for people."""

import json
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

from inbox_server.conformance.cases import PAGE, Result
from inbox_server.conformance.run import Report

FORMAT: Final = 1
"""The version of the JSON: it is raised when a member changes its meaning, not when there are more."""
_SHOWN: Final = {"passed": "passed", "failed": "**failed**", "not run": "not run"}


def as_json(report: Report) -> str:
    document = {
        "format": FORMAT,
        "protocol": "message-inbox",
        "version": 1,
        "url": report.url,
        "software": report.software,
        "begun": _time(report),
        "seconds": round(report.seconds, 1),
        "conforms": report.conforms,
        "counts": _counts(report),
        "left": list(report.left),
        "cases": [_case(result) for result in report.results],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _case(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "id": case.id,
        "level": case.level,
        "verdict": result.verdict,
        "rule": case.rule,
        "said": result.said,
        "link": case.link,
        "seconds": round(result.seconds, 3),
    }


def _counts(report: Report) -> dict[str, dict[str, int]]:
    return {
        level: {verdict: report.count(verdict, level) for verdict in ("passed", "failed", "not run")}
        for level in ("required", "recommended")
    }


def as_junit(report: Report) -> str:
    """One test suite for each group. A recommended case that failed counts as skipped: it fails no build."""
    suites = ET.Element("testsuites", name="message inbox protocol, version 1")
    for group in dict.fromkeys(result.case.group for result in report.results):
        results = [result for result in report.results if result.case.group == group]
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=group,
            tests=str(len(results)),
            failures=str(sum(result.breaks for result in results)),
            skipped=str(sum(result.verdict != "passed" and not result.breaks for result in results)),
            time=f"{sum(result.seconds for result in results):.3f}",
        )
        for result in results:
            _add_junit(suite, result)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _add_junit(suite: ET.Element, result: Result) -> None:
    case = result.case
    element = ET.SubElement(suite, "testcase", classname=case.group, name=case.name, time=f"{result.seconds:.3f}")
    if result.verdict != "passed":
        kind = "failure" if result.breaks else "skipped"
        ET.SubElement(element, kind, message=result.said).text = f"{case.rule}\n{case.link}"


def as_markdown(report: Report, version: str) -> str:
    """What a provider may publish: the counts, what failed, what was not run and why, and every case by group."""
    counts = _counts(report)
    verdict = "conforms to" if report.conforms else "does **not** conform to"
    lines = [
        f"# {report.url} {verdict} the message inbox protocol, version 1",
        "",
        f"Checked on {_time(report)} in {report.seconds:.0f} s by the conformance suite of inbox-server {version},"
        f" over HTTP alone. The server calls itself {_cell(report.software)}.",
        "",
        "| | passed | failed | not run |",
        "|---|---|---|---|",
        *(f"| {level} | {' | '.join(str(number) for number in of.values())} |" for level, of in counts.items()),
        "",
    ]
    for title, verdict in (("What failed", "failed"), ("What was not run", "not run")):
        told = [result for result in report.results if result.verdict == verdict]
        if told:
            lines += [f"## {title}", "", *(_told(result) for result in told), ""]
    if report.left:
        lines += ["## What could not be deleted", "", *(f"* {_cell(left)}" for left in report.left), ""]
    return "\n".join([*lines, "## Every case", "", *_tables(report), ""])


def _tables(report: Report) -> list[str]:
    lines = []
    for group in dict.fromkeys(result.case.group for result in report.results):
        lines += [f"### {group}", "", "| case | | rule |", "|---|---|---|"]
        for result in report.results:
            case = result.case
            if case.group == group:
                level = "" if case.level == "required" else " (recommended)"
                lines.append(f"| {case.name} | {_SHOWN[result.verdict]}{level} | {case.rule} |")
        lines.append("")
    return lines[:-1]


def _told(result: Result) -> str:
    case = result.case
    level = ", recommended" if case.level == "recommended" else ""
    said = _cell(result.said[:1].upper() + result.said[1:]).rstrip(".")
    return f"* `{case.id}`{level}: {case.rule} {said}. ([{PAGE}]({case.link}))"


def _cell(text: str) -> str:
    """Text that may be the server's own, so that it makes no markup."""
    return "".join(f"\\{character}" if character in "\\|<>[]*_" else character for character in text)


def _time(report: Report) -> str:
    return datetime.fromtimestamp(report.begun, UTC).strftime("%Y-%m-%d %H:%M UTC")
