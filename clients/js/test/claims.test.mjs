/** Claiming an inbox: anew, again after its operator lost it, and beside another one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MemoryStorage } from '../dist/index.js';
import { DAY, newKey, World } from './liar.mjs';

const claimsAt = ({ requests }) => requests.filter(({ method, path }) => method === 'PUT' && path === '/v1/inbox').map(({ body }) => JSON.parse(body));

function settle() {
  const world = new World();
  const [key, server, storage] = [newKey(), world.serve(), new MemoryStorage()];
  const owner = world.device(key, { storage });
  server.owner = owner.address;
  return { world, key, server, storage, owner, inboxes: [server.origin] };
}

test('a claim says whether it made the inbox, and whether there was one that no device of the owner has deleted', async () => {
  const { world, key, server, owner, inboxes } = settle();
  const claim = async (device) => (await device.claim({}, { inboxes })).map(({ code }) => code);
  assert.deepEqual(await claim(owner), ['claimed']);
  assert.deepEqual(await claim(owner), [undefined]);
  await owner.publish(inboxes);
  await owner.forget();
  assert.deepEqual(await claim(owner), ['claimed']);
  server.inbox = undefined; // its operator lost it
  world.now += DAY;
  assert.deepEqual(await claim(world.device(key)), ['claimed_again']);
  await owner.publish(inboxes);
  assert.equal((await owner.audit()).verdict, 'accounted');
});

test('a new inbox gets the settings that the others have, and what is said now counts more', async () => {
  const { world, server, owner, inboxes } = settle();
  await owner.claim({ accept: 'contacts', blocked: ['1Bob'], invite: 'only once' }, { inboxes });
  await owner.claim({ accept: 'anyone' }, { inboxes });
  assert.deepEqual(claimsAt(server).at(-1), { accept: 'anyone' });
  const second = world.serve('https://second.test');
  await owner.claim({ retention: DAY }, { inboxes: [...inboxes, second.origin] });
  assert.deepEqual(claimsAt(server).at(-1), { retention: DAY });
  assert.deepEqual(claimsAt(second), [{ accept: 'anyone', blocked: ['1Bob'], retention: DAY }]);
});

test('when the answer to a claim is lost, nothing of an earlier inbox is held against the new one', async () => {
  const { world, server, owner, inboxes } = settle();
  await owner.claim({}, { inboxes });
  await owner.publish(inboxes);
  await owner.audit();
  [server.inbox, world.now] = [undefined, world.now + DAY];
  server.breaks = (method, path) => method === 'PUT' && path === '/v1/inbox';
  assert.equal((await owner.claim({}, { inboxes }))[0].problem.name, 'Unreachable');
  server.breaks = () => false;
  assert.deepEqual((await owner.claim({}, { inboxes })).map(({ problem }) => problem), [undefined]);
  assert.equal((await owner.audit()).verdict, 'accounted');
});
