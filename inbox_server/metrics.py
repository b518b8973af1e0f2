"""What an operator may watch: counts and sizes of the whole server in Prometheus' format, and never whose.

No label names an identity or an inbox: the labels are closed lists of this program's own words.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inbox_server.errors import CODES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LookUp = Literal["remembered", "found", "refused", "failed", "stale", "busy"]
"""How a look-up ended: answered from memory; asked and found; asked, and some link of the chain does not hold; asked,
and somebody's server failed; answered with what was remembered because it failed; not asked, for want of budget."""

_LOOK_UPS: Final[tuple[LookUp, ...]] = ("remembered", "found", "refused", "failed", "stale", "busy")
_COMMIT_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_COMMIT_WORKS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Read = Callable[[], float] | Callable[[], Mapping[str, float]]


class Metrics:
    """Counts what rooms tell it, and asks the gauges when it is asked."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        deliveries = Counter("inbox_deliveries", "Deliveries taken.", ["outcome"], registry=registry)
        refusals = Counter("inbox_refusals", "Requests refused.", ["code"], registry=registry)
        look_ups = Counter("inbox_look_ups", "Look-ups of names.", ["outcome"], registry=registry)
        self._works = Histogram("inbox_commit_works", "Works in one commit.", buckets=_COMMIT_WORKS, registry=registry)
        self._seconds = Histogram(
            "inbox_commit_seconds", "Time that one commit took.", buckets=_COMMIT_SECONDS, registry=registry
        )
        # Made at once, so that each series begins with 0 and the first increase of it is seen.
        self._new, self._repeated = deliveries.labels("new"), deliveries.labels("repeated")
        self._refusals = {code: refusals.labels(code) for code in CODES}
        self._look_ups = {outcome: look_ups.labels(outcome) for outcome in _LOOK_UPS}
        self._gauges = _Gauges()
        self._registry = registry
        registry.register(self._gauges)
        ProcessCollector(registry=registry)  # memory, open files and processor time, where the system tells them

    def delivered(self, *, new: bool) -> None:
        (self._new if new else self._repeated).inc()

    def refused(self, code: str) -> None:
        self._refusals[code].inc()

    def looked_up(self, outcome: LookUp) -> None:
        self._look_ups[outcome].inc()

    def committed(self, works: int, seconds: float) -> None:
        self._works.observe(works)
        self._seconds.observe(seconds)

    def watch(self, name: str, help: str, read: Read, *, label: str | None = None) -> None:
        """A gauge that is read when it is asked for: a number, or with a `label` a number for each of its values."""
        self._gauges.add(name, help, read, label)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    """Gauges that are functions."""

    def __init__(self) -> None:
        self._gauges: list[tuple[str, str, Read, str | None]] = []

    def add(self, name: str, help: str, read: Read, label: str | None) -> None:
        self._gauges.append((name, help, read, label))

    def collect(self) -> Iterable[Metric]:
        for name, help, read, label in self._gauges:
            gauge = GaugeMetricFamily(name, help, labels=[label] if label else None)
            value = read()
            if isinstance(value, Mapping):
                for of, number in value.items():
                    gauge.add_metric([of], number)
            else:
                gauge.add_metric([], value)
            yield gauge
