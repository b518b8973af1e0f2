/** Sealed delivery between devices: which way a message goes, what a server is shown, and what happens where a ticket fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MemoryStorage } from '../dist/index.js';
import { DAY, World } from './liar.mjs';
import { newsOf } from './serving.mjs';
import { cardOf, meet, read, sealedOnes, settle, sheetsOf, signedOnes, soon, tell, ways, WEEK, whys } from './speaking.mjs';

function copy({ storage, address }, to, table) {
  const name = `message-inbox:${address}:${table}`;
  to.setItem(name, storage.getItem(name));
}

test('after both have spoken, a server hears nothing of who writes', async () => {
  const { alice, bob } = await meet();
  bob.server.requests = [];
  assert.deepEqual(ways(await tell(alice, bob, 'third')), ['sealed']);
  assert.deepEqual(ways(await tell(bob, alice, 'fourth')), ['sealed']);
  const [{ body, authorization }] = sealedOnes(bob.server);
  assert.deepEqual(signedOnes(bob.server), []);
  assert.deepEqual(Object.keys(JSON.parse(body)), ['message_id', 'to']);
  const toBob = bob.server.requests.filter(({ path, method }) => method === 'POST' && path === '/v1/messages');
  for (const told of [JSON.stringify(toBob), authorization]) assert.ok(!told.includes(alice.id) && !told.includes(alice.address));
});

test('a ticket that a proxy takes away is sent again, and nothing is signed', async () => {
  const { world, alice, bob } = await meet();
  const [answer, stripped] = [bob.server.answer.bind(bob.server), { status: 401, code: 'no_token', detail: 'There is no Authorization header.' }];
  bob.server.requests = [];
  bob.server.answer = (request) => {
    if (request.path !== '/v1/messages') return answer(request);
    bob.server.answer = answer;
    return new Response(JSON.stringify(stripped), { status: 401, headers: { 'Content-Type': 'application/problem+json' } });
  };
  const { waiting } = await alice.client.send(bob.id, 'waits');
  assert.deepEqual(waiting.map(({ problem }) => problem.code), ['no_token']);
  world.now += 120;
  assert.deepEqual((await alice.client.retry()).map(ways), [['sealed']]);
  assert.deepEqual(signedOnes(bob.server), []);
});

test('the first message to somebody who has written is signed: they have no tickets for its sender yet', async () => {
  const world = new World();
  const [alice, bob] = [await settle(world, 'alice'), await settle(world, 'bob')];
  await tell(alice, bob, 'one');
  await tell(alice, bob, 'two');
  assert.deepEqual(ways(await tell(bob, alice, 'three')), ['signed, first contact']);
  assert.deepEqual([...sealedOnes(alice.server), ...sealedOnes(bob.server)], []);
  assert.deepEqual(ways(await tell(alice, bob, 'before the sheets know')), ['signed, first contact']);
});

test('without the feature, or with the setting off, everything is signed and no card says otherwise', async () => {
  for (const more of [{ features: [] }, { sealed: false }]) {
    const world = new World();
    const [alice, bob] = [await settle(world, 'alice', more), await settle(world, 'bob', more)];
    for (const [from, to] of [[alice, bob], [bob, alice], [alice, bob]]) assert.deepEqual(ways(await tell(from, to, 'hello')), ['signed']);
    assert.deepEqual(sheetsOf(bob.server), []);
  }
});

test('sheets are sent for five weeks, before the card says so, and their length does not tell who is on them', async () => {
  const { alice, bob, world } = await meet();
  const sheets = sheetsOf(bob.server);
  const now = Math.floor(world.now / WEEK);
  const weeks = [0, 1, 2, 3, 4].map((more) => now + more);
  assert.deepEqual(sheets.map(({ week }) => week), [...weeks, ...weeks]); // nobody yet, and then Alice
  assert.equal(new Set(sheets.map(({ ids }) => ids.length)).size, 1);
  assert.equal(new Set(sheets.map(({ ids }) => ids)).size, 10);
  await bob.publish();
  assert.equal(sheetsOf(bob.server).length, 10); // the same contacts: nothing to send
  world.now += DAY + 1;
  await bob.publish();
  const again = sheetsOf(bob.server).slice(10);
  assert.deepEqual(again.map(({ ids }) => ids), sheets.slice(5).map(({ ids }) => ids)); // once a day, in case the server was restored
  assert.deepEqual(ways(await tell(alice, bob, 'the next day')), ['sealed']);
});

test('a repeat takes the same ticket and is the same delivery', async () => {
  const { alice, bob, world } = await meet();
  bob.server.breaks = (method, path) => method === 'POST' && path === '/v1/messages';
  const { waiting, stored } = await alice.client.send(bob.id, 'once');
  assert.deepEqual([waiting.length, stored.length], [1, 0]);
  bob.server.breaks = () => false;
  world.now += 60;
  const [report] = await world.device(alice.key, { storage: alice.storage }).retry(); // another page of the same browser
  assert.deepEqual(ways(report), ['sealed']);
  const [one, other] = sealedOnes(bob.server);
  assert.deepEqual([one.authorization, one.body], [other.authorization, other.body]);
  assert.deepEqual(await read(bob), ['once']);
});

test('a ticket that another device has spent is skipped', async () => {
  const { alice, bob, world } = await meet();
  const storage = new MemoryStorage();
  for (const name of ['contacts', 'own', 'cards']) copy(alice, storage, name);
  const laptop = world.device(alice.key, { storage });
  await alice.client.send(bob.id, 'from the phone');
  await alice.client.send(bob.id, 'from the phone again');
  assert.deepEqual(ways(await laptop.send(bob.id, 'from the laptop')), ['sealed']);
  assert.equal((await read(bob)).length, 3);
  assert.equal(sealedOnes(bob.server).length, 5); // it tried the two that were spent
});

test('two tabs share the tickets', async () => {
  const { alice, bob, world } = await meet();
  const tab = world.device(alice.key, { storage: alice.storage });
  const sending = Array.from({ length: 10 }, (_, at) => [alice.client, tab][at % 2].send(bob.id, `message ${at}`));
  for (const report of await Promise.all(sending)) assert.deepEqual(ways(report), ['sealed']);
  assert.equal(sealedOnes(bob.server).length, 10); // none was asked for twice
  assert.equal(new Set(sealedOnes(bob.server).map(({ authorization }) => authorization)).size, 10);
});

test('when all tickets are used, a message waits, and goes signed only when its sender says so', async () => {
  const { alice, bob, world } = await meet();
  for (let sent = 0; sent < 32; sent += 1) assert.deepEqual(ways(await alice.client.send(bob.id, 'many')), ['sealed']);
  const signed = signedOnes(bob.server).length;
  const [one, two] = [await alice.client.send(bob.id, 'too many'), await alice.client.send(bob.id, 'and another')];
  assert.deepEqual([whys(one), whys(two)], [['no_tickets'], ['no_tickets']]);
  assert.match(one.waiting[0].problem.detail, /^All 32 tickets .* Nothing was signed.* Sign it if /);
  assert.equal(signedOnes(bob.server).length, signed);
  world.now += WEEK;
  assert.deepEqual((await alice.client.retry()).map(ways), [['sealed'], ['sealed']]);
  assert.equal(signedOnes(bob.server).length, signed);
  for (let sent = 2; sent < 32; sent += 1) await alice.client.send(bob.id, 'many');
  const { id } = await alice.client.send(bob.id, 'too many again');
  assert.deepEqual(ways(await alice.client.sign(id)), ['signed, first contact']);
  assert.equal(await alice.client.sign(id), undefined);
  assert.equal(signedOnes(bob.server).length, signed + 1);
  world.now += WEEK;
  assert.deepEqual(ways(await alice.client.send(bob.id, 'a new week', { maySign: true })), ['sealed']);
});

for (const ahead of [-90, 90, -200, 200]) {
  test(`at the turn of the week, with a sender's clock ${ahead} seconds off`, async () => {
    const world = new World();
    const { alice, bob } = await meet(world, { ahead });
    world.now = Math.floor(world.now / WEEK) * WEEK + WEEK - 1;
    await bob.publish();
    const fresh = { ...alice, client: world.device(alice.key, { storage: alice.storage, ahead }) }; // has not heard the time
    assert.deepEqual(ways(await tell(fresh, bob, 'before')), ['sealed']);
    world.now += 2;
    assert.deepEqual(ways(await tell(fresh, bob, 'after')), ['sealed']);
    assert.deepEqual(signedOnes(bob.server).length, 1);
  });
}

test('a new edition is seen by those who wrote sealed, and by those who are new', async () => {
  const { alice, bob, world } = await meet();
  const carol = await settle(world, 'carol');
  assert.deepEqual(ways(await tell(alice, bob, 'sealed')), ['sealed']);
  await tell(carol, bob, 'hello');
  await tell(bob, carol, 'hello');
  await bob.publish();
  const signed = signedOnes(bob.server).length;
  assert.deepEqual(ways(await tell(alice, bob, 'with a ticket of the new edition')), ['sealed']);
  assert.deepEqual(ways(await tell(carol, bob, 'and Carol')), ['sealed']);
  assert.equal(signedOnes(bob.server).length, signed);
});

test('a contact who is blocked has no tickets on the next sheets, and what came before is dropped', async () => {
  const { alice, bob, world } = await meet();
  await tell(alice, bob, 'sealed');
  await alice.client.send(bob.id, 'in between');
  await bob.client.claim({ blocked: [alice.address] });
  await bob.publish();
  const { entries } = await bob.client.unread();
  assert.equal(entries.length, 1);
  await assert.rejects(bob.client.fetch(entries[0]), { message: 'The sender is blocked.', isForNow: false });
  const signed = signedOnes(bob.server).length;
  const report = await alice.client.send(bob.id, 'blocked');
  assert.deepEqual([whys(report), report.refused], [['no_tickets'], []]);
  for (const pause of [600, 1200]) {
    world.now += pause - 1;
    assert.deepEqual(await alice.client.retry(), []);
    world.now += 1;
    assert.deepEqual((await alice.client.retry()).map(whys), [['no_tickets']]);
  }
  assert.equal(signedOnes(bob.server).length, signed);
  await bob.client.claim({ blocked: [] });
  await bob.publish();
  assert.deepEqual(ways(await alice.client.send(bob.id, 'friends again')), ['sealed']);
});

test('where nobody is accepted, nothing is signed unless the user says so', async () => {
  const { alice, bob, world } = await meet();
  await tell(alice, bob, 'sealed');
  bob.server.accept = 'nobody';
  const report = await alice.client.send(bob.id, 'closed');
  assert.match(report.waiting[0].problem.detail, /^No ticket is accepted\./);
  assert.equal(signedOnes(bob.server).length, 1);
  const { refused } = await alice.client.sign(report.id);
  assert.deepEqual(refused.map(({ problem }) => problem.code), ['not_accepted']);
  assert.equal(signedOnes(bob.server).length, 2);
});

test('a card that offers no tickets any more makes messages wait, and when it does again, they go sealed', async () => {
  const { alice, bob, world } = await meet();
  await tell(alice, bob, 'sealed');
  bob.server.features = [];
  world.ticks += 301; // what a server offers is remembered for five minutes
  await bob.publish();
  const waits = await alice.client.send(bob.id, 'not signed');
  assert.match(waits.waiting[0].problem.detail, /inbox card does not offer sealed delivery any more/);
  bob.server.features = ['sealed'];
  world.ticks += 301;
  await bob.publish();
  world.now += 3601;
  assert.deepEqual((await alice.client.retry()).map(ways), [['sealed']]);
  assert.equal(signedOnes(bob.server).length, 1);
});

test('after a move, tickets are for the other server', async () => {
  const { alice, bob, world } = await meet();
  await tell(alice, bob, 'at the old one');
  const other = world.serve('https://other.test');
  Object.assign(other, { features: ['sealed'], owner: bob.address });
  for await (const step of bob.client.move(other.origin)) assert.ok(step.text);
  assert.equal(sheetsOf(other).length, 5);
  const report = await alice.client.send(bob.id, 'at the new one');
  assert.deepEqual(report.stored.map(({ inbox, way }) => [inbox, way]), [[other.origin, 'sealed']]);
  assert.deepEqual(await read(bob), ['at the new one']);
  assert.deepEqual(signedOnes(other).filter(({ body }) => !body.includes('ttl')), []);
});

test('another device of the owner keeps the tickets of contacts that it has never met', async () => {
  const { alice, bob, world } = await meet();
  const laptop = world.device(bob.key);
  await laptop.publish([bob.server.origin]);
  assert.deepEqual(ways(await tell(alice, bob, 'still known')), ['sealed']);
  const file = [...world.files].find(([path]) => path === `${bob.address}/people.json`)[1].content;
  assert.ok(!file.includes(alice.id));
});

test('a watch sends the sheets of the weeks that come, and those of somebody who is new', async () => {
  const { alice, bob, world } = await meet();
  const carol = await settle(world, 'carol');
  await tell(carol, bob, 'hello');
  await tell(bob, carol, 'hello');
  world.now += 2 * WEEK;
  const before = cardOf(world, bob);
  const sheets = sheetsOf(bob.server).length;
  for await (const { kind } of bob.client.watch()) {
    if (kind !== 'up') continue;
    while (sheetsOf(bob.server).length < sheets + 5 || cardOf(world, bob) === before) await soon();
    break;
  }
  assert.deepEqual(ways(await carol.client.send(bob.id, 'with a ticket')), ['sealed']);
  assert.deepEqual(ways(await alice.client.send(bob.id, 'after two weeks')), ['sealed']);
  assert.equal(sheetsOf(bob.server).length, sheets + 5);
});

test('a move to a server that takes no tickets, and its card, say what that means; without contacts there is nothing to say', async () => {
  const { world, alice, bob } = await meet();
  const next = world.serve('https://next.test');
  Object.assign(next, { features: ['log'], owner: bob.address });
  const steps = [];
  for await (const step of bob.client.move(next.origin)) steps.push(step);
  const { text } = steps.find(({ kind }) => kind === 'sheets');
  assert.match(text, /https:\/\/next.test takes no tickets.* waits until they let it be signed/);
  assert.deepEqual(whys(await alice.client.send(bob.id, 'waits')), []); // Alice has not sent sealed yet
  assert.match((await bob.client.publish([next.origin])).sheets.message, /takes no tickets/);
  const [{ problem }] = await newsOf(bob.client, 'sheets');
  assert.match(problem.message, /takes no tickets/);
  const carol = await settle(world, 'carol', { features: ['log'] });
  assert.equal((await carol.publish()).sheets, undefined);
});

for (const decides of [(client, { id }) => client.sign(id), (client, _, bob) => client.send(bob.id, 'signed', { maySign: true })]) {
  test(`whoever decides to sign lets go at once what else waits for the same person: ${decides}`, async () => {
    const { alice, bob } = await meet();
    await tell(alice, bob, 'sealed');
    bob.server.inbox.sheets = {};
    const waiting = [await alice.client.send(bob.id, 'one'), await alice.client.send(bob.id, 'two')];
    assert.deepEqual(waiting.map(whys), [['no_tickets'], ['no_tickets']]);
    assert.deepEqual(await alice.client.retry(), []);
    assert.equal((await decides(alice.client, waiting[0], bob)).stored.length, 1);
    assert.ok((await alice.client.retry()).length > 0);
    assert.deepEqual(await alice.client.waiting(), []);
  });
}
