/** People in the small world of `liar.mjs` who speak with each other, and what their servers were shown. */
import assert from 'node:assert/strict';

import { MemoryStorage } from '../dist/index.js';
import { DAY, newKey, World } from './liar.mjs';

export { soon } from './liar.mjs';

export const WEEK = 7 * DAY;
export const sealedOnes = ({ requests }) => requests.filter(({ authorization }) => authorization?.startsWith('InboxTicket '));
export const signedOnes = ({ requests }) => requests.filter(({ path, method, authorization }) => {
  return method === 'POST' && path === '/v1/messages' && authorization.startsWith('Bearer ');
});
export const sheetsOf = ({ requests }) => requests.filter(({ path }) => path === '/v1/inbox/tickets').map(({ body }) => JSON.parse(body));
export const ways = ({ stored }) => stored.map(({ way }) => way);
export const whys = ({ waiting }) => waiting.map(({ problem }) => problem.code);

/** Somebody with an inbox of their own that takes tickets, and a card that says so. */
export async function settle(world, name, { features = ['sealed'], ...more } = {}) {
  const [key, server] = [newKey(), world.serve(`https://${name}.test`)];
  const storage = new MemoryStorage();
  const client = world.device(key, { storage, ...more });
  Object.assign(server, { features, owner: client.address });
  await client.claim({}, { inboxes: [server.origin] });
  await client.publish([server.origin]);
  const publish = () => client.publish([server.origin]);
  return { key, server, storage, client, publish, address: client.address, id: client.publicKey };
}

/** Another device of the same owner, with a state of its own. */
export function laptopOf(world, who) {
  const storage = new MemoryStorage();
  const client = world.device(who.key, { storage });
  return { ...who, storage, client, publish: () => client.publish([who.server.origin]) };
}

export async function read({ client }) {
  const { entries } = await client.unread();
  const texts = [];
  for (const entry of entries) texts.push((await client.fetch(entry)).content);
  await client.acknowledge(entries);
  return texts;
}

/** One to the other, who reads it. */
export async function tell(from, to, text) {
  const report = await from.client.send(to.id, text);
  assert.deepEqual(await read(to), [text]);
  return report;
}

/** Alice and Bob, who have spoken with each other; Bob's card and sheets say so. */
export async function meet(world = new World(), more = {}) {
  const [alice, bob] = [await settle(world, 'alice', more), await settle(world, 'bob', more)];
  assert.deepEqual(ways(await tell(alice, bob, 'first')), ['signed, first contact']);
  assert.deepEqual(ways(await tell(bob, alice, 'second')), ['signed, first contact']);
  await bob.publish();
  await alice.publish();
  return { world, alice, bob };
}

export const cardOf = ({ files }, { address }) => files.get(`${address}/inbox.json`).content;
