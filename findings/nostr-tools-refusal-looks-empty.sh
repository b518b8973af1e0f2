#!/usr/bin/env bash
# One would guess: `await pool.querySync(...)` that cannot ask the relay, or is refused, throws; and `oneose` means what EOSE means in the protocol:
#   all that was stored has been delivered.
# What happens: querySync gives [] and `oneose` is called, whether the relay has nothing, is down, cuts the connection, or closes the request with
#   "auth-required", as relays of private messages are advised to do. Only `onclose` of a subscription is told why.
# Version: nostr-tools 2.25.2 with ws 8.23.0, from npm.
#   Seen: empty: 0 oneose; down: 0 oneose; cut: 0 oneose; auth-required: 0 oneose; onclose: connection failed, auth-required: log in
# Who meets it: inboxes, follow lists and settings: "nothing there" is shown, or an empty list is changed and published over the real one.
#   `pool.subscribeEose` with `onclose` in place of querySync is the way round, with `onauth` where relays want it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" nostr-tools@2.25.2 ws@8.23.0 >/dev/null
cd "$folder"
cat > run.mjs <<'JS'
import { once } from 'node:events';
import { SimplePool, useWebSocketImplementation } from 'nostr-tools/pool';
import WebSocket, { WebSocketServer } from 'ws';

useWebSocketImplementation(WebSocket);
const servers = [];

/** A relay that does nothing but answer each request so. */
async function relay(answer) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  server.on('connection', (socket) => socket.on('message', (text) => {
    const [verb, id] = JSON.parse(text);
    if (verb === 'REQ') answer(socket, (...message) => socket.send(JSON.stringify([message[0], id, ...message.slice(1)])));
  }));
  await once(server, 'listening');
  servers.push(server);
  return `ws://127.0.0.1:${server.address().port}`;
}

const gone = await relay(() => {});
await new Promise((resolve) => servers.pop().close(resolve));
const relays = {
  empty: await relay((_, say) => say('EOSE')),
  down: gone,
  cut: await relay((socket) => socket.terminate()),
  'auth-required': await relay((_, say) => say('CLOSED', 'auth-required: log in')),
};
const filter = { kinds: [1059] };
const seen = [];
const reasons = {};
for (const [name, url] of Object.entries(relays)) {
  const found = await new SimplePool().querySync([url], filter);
  const told = await new Promise((resolve) => {
    new SimplePool().subscribe([url], filter, { oneose: () => resolve('oneose'), onclose: () => resolve('onclose') });
  });
  seen.push(`${name}: ${found.length} ${told}`);
  if (name === 'empty') continue;
  reasons[name] = await new Promise((resolve) => {
    new SimplePool().subscribeEose([url], filter, { onclose: ([{ reason }]) => resolve(reason) });
  });
}
console.log(`${seen.join('; ')}; onclose: ${reasons.down}, ${reasons['auth-required']}`);
process.exit();
JS
seen=$(node run.mjs)
echo "$seen"
expected='empty: 0 oneose; down: 0 oneose; cut: 0 oneose; auth-required: 0 oneose; onclose: connection failed, auth-required: log in'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a relay that cannot be asked no longer looks like an empty one, or tells otherwise why."; exit 1; }
