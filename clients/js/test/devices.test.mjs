/** What one device knows of people serves the owner's other devices: whose indexes to read, and whose not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DAY, World } from './liar.mjs';
import { laptopOf, meet, settle, tell } from './speaking.mjs';

const contentsOf = async (client, entries) => (await Promise.all(entries.map((entry) => client.fetch(entry)))).map(({ content }) => content);
const fetched = async (client) => contentsOf(client, (await client.audit()).fetched);

async function withoutServer({ client, server }, world) {
  world.down.add(server.origin);
  const { entries } = await client.unread();
  world.down.delete(server.origin);
  return contentsOf(client, entries);
}

test('a device that has met nobody finds what a server hides of contacts of another device', async () => {
  const { world, alice, bob } = await meet(new World(), { features: ['log', 'receipts', 'sealed'] });
  const laptop = laptopOf(world, bob);
  await laptop.client.audit();
  bob.server.keeps = () => false;
  await alice.client.send(bob.id, 'hidden');
  bob.server.keeps = () => true;
  world.now += DAY;
  assert.deepEqual(await fetched(laptop.client), ['hidden']);
  assert.deepEqual((await withoutServer(laptopOf(world, bob), world)).sort(), ['first', 'hidden']);
});

test('what somebody sends whom another device has blocked is found by no device', async () => {
  const { world, alice, bob } = await meet(new World(), { features: ['log', 'receipts', 'sealed'] });
  const laptop = laptopOf(world, bob);
  await tell(alice, laptop, 'to the laptop');
  await bob.client.claim({ blocked: [alice.address] });
  bob.server.accept = 'nobody';
  world.now += 60;
  await bob.publish();
  await alice.client.send(bob.id, 'blocked');
  assert.deepEqual(await fetched(laptop.client), []);
  await assert.rejects(withoutServer(laptop, world), { name: 'Unreachable' }); // nobody else is there to look at
});

test('while the file of people cannot be read, whom this device has met is looked at', async () => {
  const world = new World();
  const [alice, bob] = [await settle(world, 'alice', { features: ['log', 'sealed'] }), await settle(world, 'bob', { features: ['log', 'sealed'] })];
  await tell(alice, bob, 'hello');
  world.files.set(`${bob.address}/people.json`, { content: '{', etag: 'half' });
  bob.server.keeps = () => false;
  await alice.client.send(bob.id, 'hidden');
  assert.deepEqual(await fetched(bob.client), ['hidden']);
});

test('what came from somebody before any device blocked them is shown by no device, until one unblocks them', async () => {
  const { world, alice, bob } = await meet();
  const laptop = laptopOf(world, bob);
  await alice.client.send(bob.id, 'came before');
  await bob.client.claim({ blocked: [alice.address] });
  await bob.publish();
  await laptop.publish();
  const { entries: [entry] } = await laptop.client.unread();
  for (const { client } of [bob, laptop]) await assert.rejects(client.fetch(entry), { message: 'The sender is blocked.', isForNow: false });
  world.now += 60;
  await bob.client.claim({ blocked: [] });
  await bob.publish();
  await laptop.publish();
  for (const { client } of [bob, laptop]) assert.equal((await client.fetch(entry)).content, 'came before');
});

test('an audit that could not look everywhere still remembers that numbers were left out', async () => {
  const { world, alice, bob } = await meet(new World(), { features: ['log', 'receipts', 'sealed'] });
  const isSoon = () => bob.client.audit().then(() => JSON.parse(bob.storage.getItem(`message-inbox:${bob.address}:contacts`))[alice.id].gaps ?? []);
  bob.server.keeps = () => false;
  await alice.client.send(bob.id, 'hidden');
  bob.server.keeps = () => true;
  await tell(alice, bob, 'shown');
  world.down.add(bob.server.origin);
  assert.deepEqual(await isSoon(), [2]);
  world.down.delete(bob.server.origin);
  assert.deepEqual(await isSoon(), []);
});

test('what was read on another device before it moved the inbox is not found as missing', async () => {
  const { world, alice, bob } = await meet(new World(), { features: ['log', 'receipts', 'sealed'] });
  const laptop = laptopOf(world, bob);
  await laptop.client.audit();
  await tell(alice, bob, 'read there');
  await alice.client.send(bob.id, 'unread');
  const next = world.serve('https://next.test');
  Object.assign(next, { features: ['log', 'receipts', 'sealed'], owner: bob.address });
  for await (const _ of bob.client.move(next.origin));
  assert.deepEqual(await contentsOf(laptop.client, (await laptop.client.unread()).entries), ['unread']);
  const { verdict, fetched, receipts } = await laptop.client.audit();
  assert.deepEqual([verdict, fetched, receipts], ['accounted', [], 3]);
});
