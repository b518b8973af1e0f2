/** One owner with several devices: whom the sheets of tickets are for is in one file in the own bucket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decrypt, encrypt, openEnvelope, signEnvelope } from '../dist/ecies.js';
import { AppKey } from '../dist/keys.js';
import { merge, MOST_PEOPLE } from '../dist/people.js';
import { DAY, newKey, World } from './liar.mjs';
import { newsOf } from './serving.mjs';
import { cardOf, laptopOf, meet, settle, sheetsOf, signedOnes, soon, tell, ways, whys } from './speaking.mjs';

const HOUR = 3600;
const nobody = { heard: false, written: false, out: false, at: 0 };
const friend = { ...nobody, heard: true, written: true };
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
const pathOf = ({ address }) => `${address}/people.json`;
const peopleOf = ({ files }, who) => JSON.parse(decrypt(AppKey.parse(who.key), openEnvelope(files.get(pathOf(who)).content).encrypted));

function put({ files }, who, document) {
  const key = AppKey.parse(who.key);
  const content = signEnvelope(key, encrypt(key.public, JSON.stringify(document), random, 'base64'));
  files.set(pathOf(who), { content, etag: random(16).join() });
}

/** The edition that this device last saw to. */
const lastOf = ({ storage, address }) => JSON.parse(storage.getItem(`message-inbox:${address}:sheets`)).own.edition;

/** Bob's phone knows Alice, and his laptop knows Carol. */
async function meetOnTwo() {
  const { world, alice, bob } = await meet();
  const [carol, laptop] = [await settle(world, 'carol'), laptopOf(world, bob)];
  await laptop.publish();
  await tell(carol, laptop, 'hello');
  await tell(laptop, carol, 'hello');
  return { world, alice, bob, carol, laptop };
}

/** Until nothing is asked any more, because what a watch does at first is done. */
async function watchOnce({ client, server }, isDone = () => false) {
  for await (const news of client.watch()) {
    if (news.kind !== 'up') continue;
    for (let [quiet, before] = [0, -1]; quiet < 50 && !isDone(); before = server.requests.length) {
      quiet = before === server.requests.length ? quiet + 1 : 0;
      await soon();
    }
    break;
  }
}

test('contacts whom only one device knows keep their tickets, and both devices make the same sheets', async () => {
  const { world, alice, bob, carol, laptop } = await meetOnTwo();
  world.now += 60;
  await laptop.publish();
  const sent = sheetsOf(bob.server).slice(-5);
  await bob.publish();
  assert.deepEqual(sheetsOf(bob.server).slice(-5), sent);
  for (const who of [alice, carol]) assert.deepEqual(ways(await tell(who, bob, 'sealed')), ['sealed']);
  assert.deepEqual(peopleOf(world, bob), { v: 1, edition: world.now, people: { [alice.id]: friend, [carol.id]: friend } });
});

test('another device takes tickets for contacts whom it has not met', async () => {
  const { world, alice, bob } = await meet();
  const laptop = laptopOf(world, alice);
  await laptop.publish();
  assert.deepEqual(ways(await tell(laptop, bob, 'from the laptop')), ['sealed']);
});

test('another device does not sign either once a message went sealed', async () => {
  const { world, alice, bob } = await meet();
  assert.deepEqual(ways(await tell(alice, bob, 'sealed')), ['sealed']);
  await alice.publish();
  const laptop = laptopOf(world, alice);
  await laptop.publish();
  bob.server.accept = 'nobody';
  bob.server.requests = [];
  const report = await laptop.client.send(bob.id, 'waits');
  assert.deepEqual([ways(report), report.waiting.map(({ problem }) => problem.code)], [[], ['no_tickets']]);
  assert.deepEqual(signedOnes(bob.server), []);
  bob.server.accept = 'anyone';
  bob.server.inbox.sheets = {};
  assert.deepEqual(ways(await laptop.client.sign(report.id)), ['signed, first contact']); // as its user decided
});

test('heard on one device and written to on the other is both', async () => {
  const world = new World();
  const [alice, bob] = [await settle(world, 'alice'), await settle(world, 'bob')];
  const laptop = laptopOf(world, bob);
  await tell(alice, bob, 'to the phone');
  await tell(laptop, alice, 'from the laptop');
  await bob.publish();
  assert.deepEqual(peopleOf(world, bob).people, { [alice.id]: { ...friend, written: false } });
  world.now += 60;
  await laptop.publish();
  assert.deepEqual(peopleOf(world, bob), { v: 1, edition: world.now, people: { [alice.id]: friend } });
});

test('who is blocked on one device has no tickets from either, until unblocked on one', async () => {
  const { world, alice, bob, laptop } = await meetOnTwo();
  await tell(alice, bob, 'sealed');
  world.now += 60;
  await bob.client.claim({ blocked: [alice.address] });
  const at = world.now;
  world.now += 60;
  await bob.publish();
  await laptop.publish();
  assert.deepEqual(peopleOf(world, bob).people[alice.id], { ...friend, out: true, at });
  const report = await alice.client.send(bob.id, 'blocked');
  assert.deepEqual(whys(report), ['no_tickets']);
  world.now += 60;
  await laptop.client.claim({ blocked: [alice.address] });
  await laptop.client.claim({ blocked: [] });
  await laptop.publish();
  await bob.publish(); // which still has its own older word
  assert.equal(peopleOf(world, bob).people[alice.id].out, false);
  world.now += HOUR;
  assert.deepEqual((await alice.client.retry()).map(ways), [['sealed']]);
});

test('when two devices write at once, the later one reads again and merges', async () => {
  const { world, alice, bob, carol, laptop } = await meetOnTwo();
  const dave = await settle(world, 'dave');
  await tell(dave, bob, 'hello');
  await tell(bob, dave, 'hello');
  world.now += 60;
  await Promise.all([laptop.publish(), bob.publish()]);
  assert.deepEqual(Object.keys(peopleOf(world, bob).people).sort(), [alice, carol, dave].map(({ id }) => id).sort());
  await Promise.all([bob, laptop].map((each) => watchOnce(each)));
  for (const who of [alice, carol, dave]) assert.deepEqual(ways(await who.client.send(bob.id, 'sealed')), ['sealed']);
});

const later = { v: 2, edition: 1, people: {} };
const someone = '02'.padEnd(66, 'a');
for (const [what, spoil, why] of [
  ['cut off', ({ content }) => content.slice(0, -9), /not whole/],
  ['of another key', () => signEnvelope(AppKey.parse(newKey()), '{}'), /not what this key wrote/],
  ['of a later version', later, /later version: update this client/],
  ['without an edition', { v: 1, people: {} }, /damaged/],
  ['without people', { v: 1, edition: 1 }, /damaged/],
  ['with half a person', { v: 1, edition: 1, people: { [someone]: { heard: true } } }, /damaged/],
  ['with what is no key', { v: 1, edition: 1, people: { alice: friend } }, /damaged/],
]) {
  test(`with a file that is ${what}, no sheets are sent, it is said, and what was there stays good`, async () => {
    const { world, alice, bob } = await meet();
    const [sheets, file] = [sheetsOf(bob.server).length, world.files.get(pathOf(bob))];
    if (typeof spoil === 'function') world.files.set(pathOf(bob), { ...file, content: spoil(file) });
    else put(world, bob, spoil);
    const { content } = world.files.get(pathOf(bob));
    world.now += 2 * DAY;
    assert.match((await bob.publish()).sheets.message, why);
    const [{ problem }] = await newsOf(bob.client, 'sheets');
    assert.match(problem.message, why);
    assert.equal(sheetsOf(bob.server).length, sheets);
    assert.equal(world.files.get(pathOf(bob)).content, content);
    assert.deepEqual(ways(await tell(alice, bob, 'still sealed')), ['sealed']);
    world.files.set(pathOf(bob), file);
    assert.equal((await bob.publish()).sheets, undefined);
  });
}

test('a file of exactly the form that is agreed on is read, and its edition and people are taken over', async () => {
  const { world, alice, bob } = await meet();
  const carol = await settle(world, 'carol');
  await tell(carol, alice, 'from one to another');
  const edition = world.now + 7;
  const people = { [carol.id]: { ...friend, out: false, at: 5, color: 'blue' }, [alice.id]: friend };
  put(world, bob, { v: 1, edition, people, more: [] });
  const { content } = world.files.get(pathOf(bob));
  const { sheets } = await bob.publish();
  assert.equal(sheets, undefined);
  assert.equal(world.files.get(pathOf(bob)).content, content);
  assert.deepEqual(ways(await carol.client.send(bob.id, 'hello')), ['signed, first contact']);
  assert.deepEqual(ways(await alice.client.send(bob.id, 'once more')), ['sealed']);
  assert.equal(lastOf(bob), edition);
});

test('a file that was lost or put back is written anew, with the same edition for the same people', async () => {
  const { world, alice, bob } = await meet();
  const { edition } = peopleOf(world, bob);
  const sheets = sheetsOf(bob.server).length;
  world.now += 60;
  for (const old of [undefined, { v: 1, edition: edition - 9, people: {} }]) {
    world.files.delete(pathOf(bob));
    if (old) put(world, bob, old);
    await bob.publish();
    assert.deepEqual(peopleOf(world, bob), { v: 1, edition, people: { [alice.id]: friend } });
  }
  assert.equal(sheetsOf(bob.server).length, sheets);
});

test('a watch on another device takes a new edition over, and sends no sheets that are there', async () => {
  const { world, bob, laptop } = await meetOnTwo();
  world.now += 60;
  await laptop.publish();
  const [sheets, card] = [sheetsOf(bob.server).length, cardOf(world, bob)];
  await watchOnce(bob);
  assert.equal(lastOf(bob), peopleOf(world, bob).edition);
  assert.equal(sheetsOf(bob.server).length, sheets);
  assert.equal(cardOf(world, bob), card);
});

test('a device that was cut off before it sent its sheets is made up for by another', async () => {
  const { world, alice, bob, carol, laptop } = await meetOnTwo();
  world.now += 60;
  bob.server.breaks = (method, path) => path === '/v1/inbox/tickets';
  assert.equal((await laptop.publish()).sheets.name, 'Unreachable');
  bob.server.breaks = () => false;
  const card = cardOf(world, bob);
  await watchOnce(bob, () => cardOf(world, bob) !== card);
  for (const who of [alice, carol]) assert.deepEqual(ways(await tell(who, bob, 'sealed')), ['sealed']);
});

test('a watch begins no second edition within an hour, unless somebody is blocked', async () => {
  const { world, alice, bob, carol, laptop } = await meetOnTwo();
  world.now += HOUR;
  await laptop.publish();
  const { edition } = peopleOf(world, bob);
  const dave = await settle(world, 'dave');
  await tell(dave, bob, 'hello');
  await tell(bob, dave, 'hello');
  world.now += HOUR - 1;
  await watchOnce(bob);
  assert.deepEqual([peopleOf(world, bob).edition, lastOf(bob)], [edition, edition]);
  await bob.client.claim({ blocked: [carol.address] });
  await watchOnce(bob, () => peopleOf(world, bob).edition !== edition);
  assert.equal(peopleOf(world, bob).edition, world.now);
  assert.ok(peopleOf(world, bob).people[carol.id].out);
  assert.ok(peopleOf(world, bob).people[alice.id].heard);
});

test('the file keeps a thousand people, and nobody with tickets loses them to somebody new', () => {
  const named = (count, of, from = 0) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`02${String(from + at).padStart(64, '0')}`, of]));
  const known = { ...named(900, friend), ...named(100, { ...nobody, heard: true }, 900) };
  const merged = merge(known, named(200, { heard: true, written: true }, 1000), {});
  assert.equal(Object.keys(merged).length, MOST_PEOPLE);
  for (const hex of Object.keys(named(900, friend))) assert.deepEqual(merged[hex], friend);
  assert.equal(Object.values(merged).filter(({ written }) => written).length, 1000);
  assert.deepEqual(Object.entries(merge(merged, named(200, { heard: true, written: true }, 1000), {})), Object.entries(merged));
});
