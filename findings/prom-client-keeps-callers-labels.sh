#!/usr/bin/env bash
# One would guess: `gauge.inc(labels)` reads the labels; what the caller does with the object later changes nothing, as names and values are checked
#   in the call.
# What happens: prom-client finds the series by the values, but shows what the object of the first call has in it when the page is asked for. One
#   object that gets its `status` at the end of the request, for another metric, puts that status on the first metric too, where no such
#   label is declared, for the life of the process. One object for a loop gives all series the name of the last: the page then has the same series
#   several times, of which Prometheus takes one and drops the others.
# Version: prom-client 15.1.3 from npm. Seen: {method} at the start, status added for the total: in_flight{method="GET",status="500"} 0;
#   one object for three queues: depth{queue="c"} 1, depth{queue="c"} 2, depth{queue="c"} 3;
#   depth.labels(queue): depth{queue="a"} 1, depth{queue="b"} 2, depth{queue="c"} 3
# Who meets it: middlewares that fill one labels object as they learn more of the request, and loops that save an allocation. A test that
#   reads the page before the object changes passes. `labels(...)` with the bare values, or an object of its own for each call, helps.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" prom-client@15.1.3 >/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const { Counter, Gauge, Registry } = require('prom-client');

const registers = [new Registry()];
const metric = (Kind, name, ...labelNames) => new Kind({ name, help: name, labelNames, registers });
const shown = async (name) => (await registers[0].getSingleMetricAsString(name)).split('\n').filter((line) => !line.startsWith('#')).join(', ');

const inFlight = metric(Gauge, 'in_flight', 'method');
const total = metric(Counter, 'requests', 'method', 'status');
function answered(status) {
  const labels = { method: 'GET' };
  inFlight.inc(labels);
  labels.status = status; // known at the end only
  total.inc(labels);
  inFlight.dec({ method: 'GET' });
}

const QUEUES = [['a', 1], ['b', 2], ['c', 3]];
async function depths(set) {
  registers[0].removeSingleMetric('depth');
  const depth = metric(Gauge, 'depth', 'queue');
  for (const [queue, size] of QUEUES) set(depth, queue, size);
  return shown('depth');
}

(async () => {
  answered(500);
  answered(200);
  const labels = {};
  const shared = await depths((depth, queue, size) => depth.set(Object.assign(labels, { queue }), size));
  const own = await depths((depth, queue, size) => depth.labels(queue).set(size));
  const flights = await shown('in_flight');
  console.log(`{method} at the start, status added for the total: ${flights}; one object for three queues: ${shared}; depth.labels(queue): ${own}`);
})();
JS
seen=$(node run.cjs)
echo "$seen"
expected='{method} at the start, status added for the total: in_flight{method="GET",status="500"} 0; one object for three queues: depth{queue="c"} 1, depth{queue="c"} 2, '
expected+='depth{queue="c"} 3; depth.labels(queue): depth{queue="a"} 1, depth{queue="b"} 2, depth{queue="c"} 3'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: prom-client keeps labels of its own."; exit 1; }
