#!/usr/bin/env bash
# One would guess: `@LATENCY.time()` on a function measures how long it takes, `async def` or not; so do `track_inprogress` and
#   `count_exceptions` with what they count.
# What happens: on `async def` each of them is over once the coroutine has been made, before any of it has run. The histogram counts every
#   call, at some microseconds; the gauge is 0 while work is done; an exception is not counted. Nothing warns.
# Version: prometheus_client 0.26.0 from PyPI. Seen of a call that waits 0.2 s and raises:
#   decorator: counted 1, at least 0.2 s: False, in progress 0, exceptions 0; with: counted 1, at least 0.2 s: True, in progress 1, exceptions 1
# Who meets it: handlers of aiohttp, FastAPI and the like, whose dashboards then say that all is well, and fast. The `with` form of all three works.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check prometheus_client==0.26.0 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import asyncio, contextlib
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

def measured(how):
    registry, during = CollectorRegistry(), []
    latency = Histogram("latency", "Seconds of a call", registry=registry)
    busy = Gauge("busy", "Calls that go on", registry=registry)
    failures = Counter("failures", "Calls that raised", registry=registry)

    async def work():
        await asyncio.sleep(0.2)
        during.append(round(registry.get_sample_value("busy")))
        raise LookupError

    @latency.time()
    @busy.track_inprogress()
    @failures.count_exceptions()
    async def by_decorator():
        await work()

    async def by_with():
        with latency.time(), busy.track_inprogress(), failures.count_exceptions():
            await work()

    with contextlib.suppress(LookupError):
        asyncio.run({"decorator": by_decorator, "with": by_with}[how]())
    count, seconds, failed = (registry.get_sample_value(name) for name in ("latency_count", "latency_sum", "failures_total"))
    return f"{how}: counted {count:.0f}, at least 0.2 s: {seconds >= 0.199}, in progress {during[0]}, exceptions {failed:.0f}"

print("; ".join(map(measured, ("decorator", "with"))))
PY
)
echo "$seen"
expected='decorator: counted 1, at least 0.2 s: False, in progress 0, exceptions 0; with: counted 1, at least 0.2 s: True, in progress 1, exceptions 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the decorators measure coroutines."; exit 1; }
