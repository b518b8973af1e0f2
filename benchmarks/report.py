"""What is told at the end: tables on the terminal and as Markdown, and everything as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.turns import BARE, BASE, LIMITED, NOW


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, where it is in the results, and the bound that it should keep."""

    path: str
    what: str
    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


TARGETS: Final = (
    Target("deliver.ratio", "durable deliveries, of a bare POST", 0.19, at_least=True),
    Target("deliver.to_base", "durable deliveries, of the base", 1.8, at_least=True),
    Target("deliver.limited_ratio", "the same with the default rate limits, of without", 0.95, at_least=True),
    Target("sealed.processor_ratio", "a sealed delivery's processor time, of a signed one's", 0.8),
    Target("trust.log_cost", "processor time of a delivery, of one without the log", 1.05),
    Target("trust.receipt_cost", "processor time of a delivery with a receipt, of one without", 1.15),
    Target("list_empty.ratio", "polls that find nothing, of a bare GET of the same bytes", 1.1, at_least=True),
    Target("list_100.ratio", "pages of 100 entries, of a bare GET of the same bytes", 0.15, at_least=True),
    Target("list_100.to_base", "pages of 100 entries, of the base", 3, at_least=True),
    Target("growth.deliver_p50", "deliveries at a million stored, of ten thousand, p50", 1.5),
    Target("growth.deliver_p99", "deliveries at a million stored, of ten thousand, p99", 3),
    Target("growth.list_p50", "pages at a million stored, of ten thousand, p50", 1.5),
    Target("growth.list_p99", "pages at a million stored, of ten thousand, p99", 1.5),
    Target("memory.idle_mb", "resident when idle, MB", 52),
    Target("memory.per_connection_kb", "for each idle connection, KB", 10),
    Target("memory.second_half_growth_mb", "grown by the second half of all senders, MB", 5),  # what is bounded is full
    Target("live.streams_mb", "resident with 5,000 open streams, MB", 130),
    Target("live.reached_p99_ms", "from a delivery to its waiting reader, p99, ms", 20),
    Target("busy.page_last_to_first", "last pages of a large inbox, of the first", 1.5),
    Target("busy.acking_p99_ms", "deliveries while 10,000 are acknowledged, p99, ms", 50),
    Target("busy.giving_up_p99_ms", "deliveries while a large inbox goes, p99, ms", 50),
    Target("busy.sweeping_p99_ms", "deliveries while the sweeper works, p99, ms", 50),
    Target("fair.peak_mb", "resident while one owner asks for 400 full pages at once, MB", 150),
    Target("fair.afterwards_mb", "resident afterwards, MB", 100),
    Target("fair.p99_to_alone", "deliveries meanwhile, of alone, p99", 10),
    Target("postgres.deliveries.cost", "processor time of a delivery to PostgreSQL, of one to SQLite", 1.1),
    Target("postgres.pages.cost", "processor time of a page of 100 from PostgreSQL, of one from SQLite", 1.5),
    Target("postgres.across.p99_ms", "from a delivery to one host to a reader at another, p99, ms", 20),
    Target("postgres.growth.deliver_p50", "deliveries to PostgreSQL with much stored, of with a tenth, p50", 1.5),
    Target("postgres.growth.list_p50", "pages from PostgreSQL with much stored, of with a tenth, p50", 1.5),
    Target("start.empty_s", "start to first answer, s", 0.35),
    Target("start.large_s", "start on a million stored, s", 0.5),
)

_SIDES: Final = (
    ("deliver.{}.per_second", "deliveries a second"),
    ("deliver.{}.processor_us", "processor time of one, µs"),
    ("list_empty.{}.per_second", "polls that find nothing, a second"),
    ("list_empty.{}.processor_us", "processor time of one, µs"),
    ("list_100.{}.per_second", "pages of 100 entries, a second"),
    ("list_100.{}.processor_us", "processor time of one, µs"),
    ("latency.{}.at_100_p50_ms", "a delivery, 100 offered a second, p50, ms"),
    ("latency.{}.at_100_p99_ms", "the same, p99, ms"),
    ("latency.{}.at_1000_p50_ms", "a delivery, 1,000 offered a second, p50, ms"),
    ("latency.{}.at_1000_p99_ms", "the same, p99, ms"),
    ("memory.{}.idle_mb", "resident when idle, MB"),
    ("memory.{}.per_connection_kb", "for each idle connection, KB"),
    ("start.{}.empty_s", "start to first answer, s"),
)
Table = list[tuple[str, ...]]


def tables(results: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """Each table with its heading; the first row is the head. Only what was measured."""
    for heading, table in (
        ("Targets", _targets(results)),
        ("Builds side by side", _builds(results)),
        ("Growth, ms", _growth(results.get("growth", {}))),
        ("Processor time of a delivery's steps, each alone, µs", _ladder(results.get("ladder", {}))),
    ):
        if len(table) > 1:
            yield heading, table


def _targets(results: Mapping[str, Any]) -> Table:
    rows: Table = [("what", "measured", "target", "", "")]
    for target in TARGETS:
        *parts, name = target.path.split(".")
        found = results
        for part in parts:
            found = found.get(part, {})
        if name not in found:
            continue
        value: float = found[name]
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:g}"
        verdict = "met" if target.met(value) else "missed"
        rows.append((target.what, f"{value:.2f}", bound, verdict, _detail(found, name)))
    return rows


def _detail(found: Mapping[str, Any], name: str) -> str:
    """The ratios of the single rounds, or what a ratio is made of."""
    if rounds := found.get(f"{name}_rounds"):
        by_processor = found.get(f"{name}_by_processor")
        also = f"; by processor time {by_processor:.2f}" if by_processor else ""
        return f"rounds {rounds[0]:.2f} to {rounds[-1]:.2f}{also}"
    return ", ".join(f"{ms:.2f} ms" for ms in found.get(f"{name}_ms", {}).values())


def _builds(results: Mapping[str, Any]) -> Table:
    names = [name for name in (BARE, BASE, NOW, LIMITED) if any(_of(results, path, name) for path, _ in _SIDES)]
    if len(names) < 2:
        return []
    both = {BASE, NOW} <= set(names)
    rows: Table = [("", *names, *(["now / base"] if both else []))]
    for path, what in _SIDES:
        values = {name: _of(results, path, name) for name in names}
        if any(values.values()):
            now, base = values.get(NOW), values.get(BASE)
            ratio = [f"{now / base:.2f}" if now and base else "–"] if both else []
            rows.append((what, *(_number(value) if value else "–" for value in values.values()), *ratio))
    return rows


def _of(results: Mapping[str, Any], path: str, side: str) -> float | None:
    """A figure of one side. Where there are no sides but this build and the base, this one's stand by themselves."""
    part, _, name = path.split(".")
    found: Mapping[str, Any] = results.get(part, {})
    value: float | None = found.get(side, found if side == NOW else {}).get(name)
    return value


def _growth(found: Mapping[str, Any]) -> Table:
    rows: Table = [("stored", *found.get("list_p50_ms", ()))]
    for what in ("deliver", "list"):
        for percentile in ("p50", "p99"):
            if of := found.get(f"{what}_{percentile}_ms"):
                name = "deliveries" if what == "deliver" else "pages of 100"
                rows.append((f"{name}, {percentile}", *(f"{ms:.2f}" for ms in of.values())))
    return rows


def _ladder(found: Mapping[str, Mapping[str, float]]) -> Table:
    steps = list(dict.fromkeys(step for of in found.values() for step in of))
    rows: Table = [("step", *found)]
    rows += [(step, *(f"{of[step]:.1f}" if step in of else "–" for of in found.values())) for step in steps]
    return [*rows, ("sum", *(f"{sum(of.values()):.1f}" for of in found.values()))] if steps else rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def text_of(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table
    )


def markdown_of(table: Table) -> str:
    head, *rows = (f"| {' | '.join(row)} |" for row in table)
    return "\n".join([head, "|---" * len(table[0]) + "|", *rows])


def as_text(results: Mapping[str, Any]) -> str:
    return "\n\n".join(f"{heading}\n{text_of(table)}" for heading, table in tables(results))


def as_markdown(results: Mapping[str, Any]) -> str:
    parts = [f"# Measured {results['time']}"]
    parts += [f"## {heading}\n\n{markdown_of(table)}" for heading, table in tables(results)]
    parts.append("\n".join(f"* {name}: {value}" for name, value in results["versions"].items()))
    return "\n\n".join(parts) + "\n"


def write(results: Mapping[str, Any], folder: Path) -> Path:
    """Write `<time>.json` and `<time>.md`; the first one's path."""
    path = folder / f"{results['time']}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(as_markdown(results), encoding="utf-8")
    return path
