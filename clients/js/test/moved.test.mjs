/** Deliveries that wait while their recipient moves away: from a server that is closing, that is gone, or to another key. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MemoryStorage } from '../dist/index.js';
import { World } from './liar.mjs';
import { read, settle, whys } from './speaking.mjs';

const posts = ({ requests }) => requests.filter(({ path, method }) => path === '/v1/messages' && method === 'POST').length;
const storedAt = (reports) => reports.flatMap(({ stored }) => stored.map(({ inbox }) => inbox));

/** Alice has sent Bob something that his server did not take. */
async function wait(refuse) {
  const world = new World();
  const [alice, bob] = [await settle(world, 'alice'), await settle(world, 'bob')];
  refuse(world, bob.server);
  const report = await alice.client.send(bob.id, 'waits');
  const move = async () => {
    const next = world.serve('https://next.test');
    next.owner = bob.address;
    await bob.client.claim({}, { inboxes: [next.origin] });
    await bob.client.publish([next.origin]);
    return next;
  };
  return { world, alice, bob, report, move };
}

test('what a server that is closing holds back follows the recipient within a minute, and leaves the server alone', async () => {
  const { world, alice, bob, report, move } = await wait((_, server) => (server.isDraining = true));
  assert.deepEqual(whys(report), ['draining']);
  assert.deepEqual(await alice.client.retry(), []);
  world.now += 61;
  assert.deepEqual(await alice.client.retry(), []); // the card is read, and is the same
  const next = await move();
  assert.deepEqual(await alice.client.retry(), []);
  world.now += 61;
  assert.deepEqual(storedAt(await alice.client.retry()), [next.origin]);
  assert.equal(posts(bob.server), 1);
  assert.deepEqual([await alice.client.waiting(), await read(bob)], [[], ['waits']]);
});

test('the longer a closing server holds it back, the more seldom the card is read, and never more seldom than the server asks', async () => {
  const { world, alice, bob } = await wait((_, server) => (server.isDraining = true));
  const path = `${bob.address}/inbox.json`;
  let seconds = 0;
  for (const [least, most] of [[20, 40], [6, 12]]) {
    const before = world.reads.filter((each) => each === path).length;
    for (const until = seconds + 3600; seconds < until; seconds += 30) {
      await alice.client.retry();
      [world.now, world.ticks] = [world.now + 30, world.ticks + 30];
    }
    const times = world.reads.filter((each) => each === path).length - before;
    assert.ok(times >= least && times <= most, `${times} times in this hour`);
  }
});

test('what waits for a server that is gone follows the recipient at the next try', async () => {
  const { world, alice, report, move } = await wait((world, { origin }) => world.down.add(origin));
  assert.equal(report.waiting.length, 1);
  const next = await move();
  world.now += 120;
  assert.deepEqual(storedAt(await alice.client.retry()), [next.origin]);
});

test('what waits for somebody who has another key now is given up, because nobody could read it', async () => {
  const world = new World();
  const alice = await settle(world, 'alice', { names: ['https://names.test'] });
  const bob = await settle(world, 'bob');
  world.name('bob.id', bob);
  world.down.add(bob.server.origin);
  const { id } = await alice.client.send('bob.id', 'waits');
  const other = await settle(world, 'other');
  world.name('bob.id', other);
  world.now += 120;
  world.ticks += 120;
  const [{ refused }] = await alice.client.retry();
  assert.deepEqual(refused.map(({ problem }) => problem.code), ['key_changed']);
  assert.deepEqual([await alice.client.waiting(), posts(other.server)], [[], 0]);
  assert.ok(id);
});

test('the card of a recipient for whom much waits is read once for all of it', async () => {
  const { world, alice, bob } = await wait((world, { origin }) => world.down.add(origin));
  for (const text of ['two', 'three', 'four']) await alice.client.send(bob.id, text);
  world.now += 120;
  world.reads = [];
  assert.equal((await alice.client.retry()).length, 4);
  assert.deepEqual(world.reads, [`${bob.address}/inbox.json`]);
});
