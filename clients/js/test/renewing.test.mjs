/** What a watch does so that a card stays good: cards end, and servers get other receipt keys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AppKey } from '../dist/keys.js';
import { parseToken } from '../dist/tokens.js';
import { DAY, newKey, soon, World } from './liar.mjs';
import { cardOf, settle } from './speaking.mjs';

const claimsOf = (world, who) => parseToken(JSON.parse(cardOf(world, who)).card).claims;

/** What a watch tells until nothing is asked any more. */
async function watchAWhile({ client, server }) {
  const told = [];
  const over = new AbortController();
  const watching = (async () => {
    for await (const news of client.watch({ signal: over.signal })) told.push(news.kind);
  })();
  for (let [quiet, before] = [0, -1]; quiet < 100; before = server.requests.length) {
    quiet = before === server.requests.length ? quiet + 1 : 0;
    await soon();
  }
  over.abort();
  await watching;
  return told;
}

for (const sealed of [true, false]) {
  test(`a card that ends within 60 days is published again, ${sealed ? 'with' : 'without'} sealed delivery`, async () => {
    const world = new World();
    const bob = await settle(world, 'bob', { sealed });
    const { exp, seq } = claimsOf(world, bob);
    world.now = exp - 61 * DAY;
    assert.ok(!(await watchAWhile(bob)).includes('renewed'));
    assert.equal(claimsOf(world, bob).exp, exp);
    world.now = exp - 60 * DAY;
    assert.ok((await watchAWhile(bob)).includes('renewed'));
    const renewed = claimsOf(world, bob);
    assert.deepEqual([renewed.exp, renewed.inboxes], [world.now + 400 * DAY, [bob.server.origin]]);
    assert.ok(renewed.seq > seq);
    assert.ok(!(await watchAWhile(bob)).includes('renewed'));
  });
}

test("a card that lacks a server's receipt key, or has an old one, is published again", async () => {
  const world = new World();
  const bob = await settle(world, 'bob', { features: ['log'] });
  assert.equal(claimsOf(world, bob).receipt_keys, undefined);
  bob.server.features = ['log', 'receipts'];
  assert.ok((await watchAWhile(bob)).includes('renewed'));
  assert.deepEqual(claimsOf(world, bob).receipt_keys, [bob.server.key.public.hex]);
  bob.server.key = AppKey.parse(newKey());
  world.ticks += DAY;
  assert.ok((await watchAWhile(bob)).includes('renewed'));
  assert.deepEqual(claimsOf(world, bob).receipt_keys, [bob.server.key.public.hex]);
});

test('a card that was withdrawn, or that cannot be read, is not published again', async () => {
  const world = new World();
  const bob = await settle(world, 'bob', { features: ['log'] });
  bob.server.features = ['log', 'receipts'];
  for (const content of ['{}', '{"card":']) {
    world.files.set(`${bob.address}/inbox.json`, { content, etag: content });
    const told = await watchAWhile({ ...bob, client: world.device(bob.key, { inboxes: [bob.server.origin] }) });
    assert.ok(told.includes('up') && !told.includes('renewed'), told.join());
    assert.equal(cardOf(world, bob), content);
  }
});

test('a watch of an app that named its inboxes renews the card, and goes on with those', async () => {
  const world = new World();
  const bob = await settle(world, 'bob', { features: ['log'] });
  const other = world.serve('https://other.test');
  other.owner = bob.address;
  await bob.client.claim({}, { inboxes: [other.origin] });
  await bob.client.publish([bob.server.origin, other.origin]);
  const client = world.device(bob.key, { inboxes: [bob.server.origin] });
  world.now += 350 * DAY;
  assert.ok((await watchAWhile({ ...bob, client })).includes('renewed'));
  assert.deepEqual(claimsOf(world, bob).inboxes, [bob.server.origin, other.origin]);
  assert.deepEqual((await client.settings()).map(({ inbox }) => inbox), [bob.server.origin]);
});
