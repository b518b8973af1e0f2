/** Somebody moves, is cut off at a first thing, the n-th after it and so on, and repeats it: what each finds afterwards. */
import assert from 'node:assert/strict';

import { Device, steps, texts } from './fragile.mjs';
import { answer, given } from './script.mjs';

const { where, first, every, from, to, now, alice: aliceOptions, people } = given;
const clock = () => now;
const alice = new Device(aliceOptions).start({ clock }).client;

/** A device with two unread messages, one that was read, and its delivery. */
async function withMail(options) {
  const device = new Device(options);
  const { client } = device.start({ clock });
  const [{ problem }] = await client.claim({ names: [options.name], retention: 9 * 86_400 }, { inboxes: [from] });
  assert.equal(problem, undefined);
  await client.publish([from]);
  await client.unread(); // today's mark
  await alice.send(options.name, 'read before');
  const [read] = (await client.unread()).entries;
  await client.acknowledge([read]);
  await alice.send(options.name, 'first');
  await alice.send(options.name, 'second');
  return { device, read };
}

async function firstOf(client, most) {
  const told = [];
  for await (const news of client.watch()) {
    if (news.kind === 'message') told.push((await client.fetch(news.entry)).content);
    if (told.length === most) return told.sort();
  }
}

let [at, moves] = [first, 0];
for (let wasCut = true; wasCut; at += every) {
  const options = people[moves++];
  assert.ok(options, 'there are more places to be cut off at than people');
  const { device, read } = await withMail(options);
  const life = device.start({ at, where, clock });
  const moved = steps(life.client.move(to));
  wasCut = await Promise.race([moved.then(() => false), life.died]);
  if (wasCut) {
    const middle = device.start({ clock }).client;
    assert.deepEqual(await texts(middle), ['first', 'second'], `in the middle, ${where} ${at}`);
    assert.deepEqual(await firstOf(middle, 2), ['first', 'second']);
    assert.equal((await steps(device.start({ clock }).client.move(to))).at(-1).kind, 'moved');
  }
  const { client } = device.start({ clock });
  const { entries } = await client.unread();
  assert.deepEqual(entries.map(({ inboxes }) => inboxes), [[to], [to]], `${where} ${at}`);
  assert.ok(!entries.some(({ id }) => id === read.id));
  assert.equal(await client.unfinishedMove(), undefined);
  const [{ result }] = await client.settings();
  assert.deepEqual([result.accept, result.retention, result.names], ['names', 9 * 86_400, 1]);
  const [{ problem }] = await client.claim({}, { inboxes: [to] });
  assert.equal(problem, undefined);
  const { stored } = await alice.send(options.name, 'third');
  assert.deepEqual(stored.map(({ inbox }) => inbox), [to]);
  assert.deepEqual(await texts(client), ['first', 'second', 'third']);
}
answer({ places: at - every - 1, left: people.slice(0, moves).map(({ privateKey }) => privateKey) });
process.exit(); // the dead still wait
