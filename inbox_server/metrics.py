"""Metrics for the operator: counts and sizes of the whole server in Prometheus' format, never of one user.

No label names an identity or an inbox: the labels are closed lists of this program's own words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from inbox_server.errors import CODES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LookUp = Literal["remembered", "found", "refused", "failed", "stale", "busy"]
"""How a look-up ended: answered from memory; asked and found; asked, and some link of the chain does not hold; asked,
and somebody's server failed; answered with what was remembered because it failed; not asked, for want of budget."""

_DELIVERED: Final = tuple((new, sealed) for new in (True, False) for sealed in (True, False))
_LOOK_UPS: Final[tuple[LookUp, ...]] = ("remembered", "found", "refused", "failed", "stale", "busy")
_COMMIT_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_COMMIT_JOBS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# They are about the database, so each of several server processes tells the same.
_OF_THE_DATABASE: Final = frozenset({"inbox_entries", "inbox_inboxes", "inbox_suspended", "inbox_draining"})

Read = Callable[[], float] | Callable[[], Mapping[str, float]] | Callable[[], Mapping[tuple[str, str], float]]


class Metrics:
    """Counts what the parts of the server report, and reads the watched values at each scrape."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, that says when the server started
        registry = CollectorRegistry()
        refusals = Counter("inbox_refusals", "Requests refused.", ["code"], registry=registry)
        look_ups = Counter("inbox_look_ups", "Look-ups of names.", ["outcome"], registry=registry)
        self._jobs = Histogram("inbox_commit_jobs", "Jobs in one commit.", buckets=_COMMIT_JOBS, registry=registry)
        self._seconds = Histogram(
            "inbox_commit_seconds", "Time that one commit took.", buckets=_COMMIT_SECONDS, registry=registry
        )
        entries = Gauge("inbox_entries", "Entries of all inboxes.", ["state"], registry=registry)
        self._inboxes = Gauge("inbox_inboxes", "Inboxes.", registry=registry)
        self._suspended = Gauge("inbox_suspended", "Addresses whose inbox is suspended.", registry=registry)
        self._unread, self._read = entries.labels("unread"), entries.labels("read")
        # Created at once, so that each series begins with 0 and its first increase is seen.
        self._refusals = {code: refusals.labels(code) for code in CODES}
        self._look_ups = {outcome: look_ups.labels(outcome) for outcome in _LOOK_UPS}
        self._watched = _Watched()
        self._registry = registry
        registry.register(self._watched)
        ProcessCollector(registry=registry)  # memory, open files and processor time, where the system reports them
        self._delivered = dict.fromkeys(_DELIVERED, 0)
        self._watch_deliveries("inbox_deliveries", "Deliveries taken.", (False, True))
        self._watch_deliveries("inbox_sealed_deliveries", "Deliveries taken with a ticket.", (True,))

    def delivered(self, *, new: bool, sealed: bool) -> None:
        self._delivered[new, sealed] += 1

    def refused(self, code: str) -> None:
        self._refusals[code].inc()

    def looked_up(self, outcome: LookUp) -> None:
        self._look_ups[outcome].inc()

    def kept(self, *, unread: int, read: int, inboxes: int, suspended: int) -> None:
        self._unread.set(unread)
        self._read.set(read)
        self._inboxes.set(inboxes)
        self._suspended.set(suspended)

    def committed(self, jobs: int, seconds: float) -> None:
        self._jobs.observe(jobs)
        self._seconds.observe(seconds)

    def watch(self, name: str, help: str, read: Read, *, labels: tuple[str, ...] = (), counts: bool = False) -> None:
        """A number that is read at each scrape, or with `labels`, one number for each of their values.

        `counts` means that it only grows, as a counter does.
        """
        self._watched.add(name, help, read, labels, counts=counts)

    def _watch_deliveries(self, name: str, help: str, kinds: Sequence[bool]) -> None:
        """Plain numbers: a `Counter` takes as long as a good part of the delivery that it counts."""

        def read() -> Mapping[str, float]:
            return {
                outcome: sum(self._delivered[new, sealed] for sealed in kinds)
                for outcome, new in (("new", True), ("repeated", False))
            }

        self.watch(name, help, read, labels=("outcome",), counts=True)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Watched(Collector):
    """Metrics that are functions."""

    def __init__(self) -> None:
        self._makers: list[Callable[[], Metric]] = []

    def add(self, name: str, help: str, read: Read, labels: tuple[str, ...], *, counts: bool) -> None:
        family = CounterMetricFamily if counts else GaugeMetricFamily

        def make() -> Metric:
            metric, value = family(name, help, labels=labels), read()
            for of, number in value.items() if isinstance(value, Mapping) else (((), value),):
                metric.add_metric((of,) if isinstance(of, str) else of, number)
            return metric

        self._makers.append(make)

    def collect(self) -> Iterable[Metric]:
        return [make() for make in self._makers]


class _Told(Collector):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def merged(texts: Mapping[int, bytes | None]) -> bytes:
    """One text of those of several server processes, by their numbers; None is of a process that does not answer.

    Each series has a label `process`, so that a counter that begins anew with its process is seen to do so. What is
    about the database is there once, without the label.
    """
    families: dict[str, Metric] = {}
    up = GaugeMetricFamily("inbox_process_up", "1 for each server process that answers.", labels=["process"])
    for process, text in texts.items():
        up.add_metric([str(process)], float(text is not None))
        for family in text_string_to_metric_families((text or b"").decode()):
            is_shared = family.name in _OF_THE_DATABASE
            if is_shared and family.name in families:
                continue
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = sample.labels if is_shared else {**sample.labels, "process": str(process)}
                into.add_sample(sample.name, labels, sample.value)
    registry = CollectorRegistry()
    registry.register(_Told([up, *families.values()]))
    return generate_latest(registry)
