/** What happens to devices and hubs: a full storage, a clock that jumps, hosts that hang, caches, challenges that change. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { OwnBucket } from '../dist/bucket.js';
import { BadCard, MemoryStorage, Unreachable } from '../dist/index.js';
import { makeCard, NO_CARD } from '../dist/card.js';
import { AppKey } from '../dist/keys.js';
import { Lapses } from '../dist/lapses.js';
import { LookUps } from '../dist/lookups.js';
import { Outbox } from '../dist/outbox.js';
import { Recipients } from '../dist/recipients.js';
import { SeenCards } from '../dist/seen.js';
import { State } from '../dist/state.js';
import { sleepFor } from '../dist/waits.js';
import { APP, clientOf, events, KEY, newsOf, problem, sending, serve, soon } from './serving.mjs';

const key = AppKey.parse(KEY);
const random = (length) => new Uint8Array(length).fill(0x77);
const DAY = 86_400;

class FullStorage extends MemoryStorage {
  isFull = true;

  setItem(name, value) {
    if (this.isFull) throw new DOMException('The quota has been exceeded.', 'QuotaExceededError');
    super.setItem(name, value);
  }
}

test('with a full storage, acknowledging and watching go on', async (context) => {
  const acked = [];
  const state = (cursor, text) =>
    `event: state\ndata: ${JSON.stringify({ messages: [{ message_id: text, expires: 2000 }], cursor, more: false })}\n\n`;
  const { url } = await serve(context, (request, response) => {
    if (request.url !== '/v1/messages/ack') return events(response).write(state('c1', 'one') + state('c2', 'two'));
    return request.on('data', (body) => acked.push(JSON.parse(body).ids[0])).on('end', () => response.writeHead(204).end());
  });
  const client = clientOf(url, { storage: new FullStorage(), clock: () => 1000 });
  const got = [];
  for await (const news of client.watch()) {
    if (news.kind !== 'message') continue;
    got.push(news.entry.id);
    assert.deepEqual(await client.acknowledge([news.entry]), [{ inbox: url, result: undefined }]);
    if (got.length === 2) break;
  }
  assert.deepEqual([...new Set(acked)], got); // `watch` repeats what another call is just telling
});

test('what a full storage did not take is known, told of, and stored when there is room, beside what others store', async () => {
  const storage = new FullStorage();
  const state = new State(storage, '');
  let isDown = true;
  const deliver = async () => {
    if (isDown) throw new Unreachable('down');
    return { id: 'id', expires: 2000 };
  };
  const outbox = new Outbox({ state, random, deliver, clock: () => 1000, askTime: async () => 1000 });
  const report = await outbox.send(sending('one', 'bob.id', '{}'), ['https://a.example']);
  assert.deepEqual([report.waiting.length, report.isKept], [1, false]);
  assert.deepEqual((await outbox.waiting()).map(({ id }) => id), ['one']);
  storage.isFull = false;
  await new State(storage, '').change('outbox', (kept) => (kept.two = { id: 'two', waiting: {} }));
  assert.equal((await outbox.send(sending('three', 'bob.id', '{}'), ['https://a.example'])).isKept, true);
  assert.deepEqual(Object.keys(JSON.parse(storage.getItem('outbox'))).sort(), ['one', 'three', 'two']);
  isDown = false;
  assert.equal((await outbox.send(sending('four', 'bob.id', '{}'), ['https://a.example'])).isKept, true);
});

for (const ahead of [DAY, 30 * DAY]) {
  test(`a pause that a clock ${ahead / DAY} days ahead has met is over when it is over`, async (context) => {
    const { url, requests } = await serve(context, (_, response, number) =>
      number === 1 ? problem(response, 503, 'stopping', { 'Retry-After': '60' }) : events(response).write(': ping\n\n'),
    );
    let [now, ticks] = [1000 + ahead, 0];
    const waited = [];
    const sleep = async (milliseconds) => {
      waited.push(milliseconds / 1000);
      now = 1000; // set right meanwhile
      ticks += milliseconds / 1000;
      await soon();
    };
    const news = await newsOf(clientOf(url, { sleep, clock: () => now, ticks: () => ticks }), 'down', 'up');
    assert.equal(news[0].retrySeconds, 60);
    assert.ok(Math.max(...waited) <= 60 && requests.length <= 3, String(waited));
  });

  test(`a delivery that a clock ${ahead / DAY} days ahead has put off is due when the clock is right`, async () => {
    let now = 1000 + ahead - 3600;
    const deliver = async () => {
      if (now > 2000) throw new Unreachable('down');
      return { id: 'id', expires: 2000 };
    };
    const options = { random, deliver, clock: () => now, askTime: async () => now, cardOf: async () => ({ inboxes: ['https://a.example'] }) };
    const outbox = new Outbox({ state: new State(new MemoryStorage(), ''), ...options });
    await outbox.send(sending('one', 'bob.id', '{}'), ['https://a.example']);
    now = 1000;
    assert.equal((await outbox.retry())[0].stored.length, 1);
  });
}

test('a wait that no timer can count is none of no time', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const woken = [];
  void sleepFor(30 * DAY * 1000, new AbortController().signal).then(() => woken.push(true));
  context.mock.timers.tick(1000);
  await soon();
  assert.deepEqual(woken, []);
});

test('a host that hangs holds up neither another nor all that waits for it', async () => {
  const state = new State(new MemoryStorage(), '');
  const [hangs, good] = ['https://hangs.example', 'https://good.example'];
  let [isUp, now, asked, giveUp] = [false, 1000, 0, undefined];
  const timeOut = new Promise((resolve) => (giveUp = resolve));
  const deliver = async (inbox) => {
    if (!isUp) throw new Unreachable('down');
    if (inbox === good) return { id: 'id', expires: 2000 };
    asked += 1;
    await timeOut;
    throw new Unreachable('did not answer in time', { cause: new Error('time') });
  };
  const cardOf = async (recipient) => ({ inboxes: [recipient === 'bob.id' ? hangs : good] });
  const outbox = new Outbox({ state, random, deliver, cardOf, clock: () => now, askTime: async () => now });
  for (const at of [...Array(20).keys()]) await outbox.send(sending(`to-hanging-${at}`, 'bob.id', '{}'), [hangs]);
  await outbox.send(sending('to-good', 'carol.id', '{}'), [good]);
  [isUp, now] = [true, 1060];
  const told = [];
  const retrying = outbox.retry((report) => told.push([report.id, report.stored.length]));
  for (let turn = 0; turn < 50; turn += 1) await soon();
  assert.deepEqual(told, [['to-good', 1]]);
  assert.deepEqual(await outbox.retry(), []); // what is under way is not tried twice
  giveUp();
  assert.equal((await retrying).length, 21);
  assert.equal(asked, 4);
});

test('after 30 days by the time of an own inbox a delivery is given up, and not before', async () => {
  let [now, time] = [1000, undefined];
  const options = { random, clock: () => now, askTime: async () => time, cardOf: async () => ({ inboxes: ['https://a.example'] }) };
  const deliver = async () => Promise.reject(new Unreachable('down'));
  const outbox = new Outbox({ state: new State(new MemoryStorage(), ''), deliver, ...options });
  await outbox.send(sending('one', 'bob.id', '{}'), ['https://a.example']);
  now += 31 * DAY;
  for (time of [undefined, 1000 + 29 * DAY]) {
    now += DAY;
    assert.equal((await outbox.retry())[0].waiting.length, 1);
  }
  now += DAY;
  time = now;
  const [{ refused }] = await outbox.retry();
  assert.deepEqual(refused.map(({ problem }) => problem.code), ['gave_up']);
  assert.deepEqual(await outbox.waiting(), []);
});

const etagOf = (text) => JSON.stringify(createHash('sha256').update(text).digest('hex'));

/** A hub that takes what `challenge` allows; `refuse` may answer a write first. What is `stale` is shown in place of what it has. */
async function serveHub(context, { refuse = () => false, association } = {}) {
  const [files, tokens] = [new Map(), []];
  const hub = { challenge: 'first', files, tokens, asked: [] };
  const { url } = await serve(context, (request, response) => {
    hub.asked.push(`${request.method} ${request.url.split('/').at(-1)}`);
    const say = (status, document) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(document));
    if (request.url === '/hub_info') return say(200, { challenge_text: hub.challenge, read_url_prefix: `${url}/read/` });
    const path = request.url.split('/').slice(2).join('/');
    if (request.url.startsWith('/read/')) {
      if (hub.cached404?.has(path) || !files.has(path)) return (hub.cached404?.add(path), response.writeHead(404).end());
      const shown = hub.stale?.get(path) ?? files.get(path);
      return response.writeHead(200, { ETag: etagOf(shown) }).end(shown);
    }
    const claims = JSON.parse(Buffer.from(request.headers.authorization.split('.')[1], 'base64url'));
    tokens.push(claims);
    let body = '';
    return request.on('data', (piece) => (body += piece)).on('end', () => {
      if (refuse(request, response)) return;
      if (claims.gaiaChallenge !== hub.challenge) return say(401, { message: 'Invalid gaiaChallenge\u202e text\n in supplied JWT' });
      if (association && claims.associationToken !== association) return say(401, { message: 'no association' });
      if (request.headers['if-none-match'] === '*' && files.has(path)) return say(412, { message: 'there is one' });
      const over = request.headers['if-match'];
      if (over !== undefined && over !== etagOf(files.get(path) ?? '')) return say(412, { message: 'another' });
      files.set(path, body);
      say(202, { publicURL: `${url}/read/${path}` });
    });
  });
  return Object.assign(hub, { url });
}

function bucketOf(hub, more = {}) {
  const access = { fetch, hub: hub.url, key, random, sleep: soon, clock: () => 1000, askTime: async () => 1000 };
  return OwnBucket.open({ associationToken: undefined, ...access, ...more });
}

test('a challenge that changes is asked for anew, and what the hub says reaches the person, and is safe', async (context) => {
  const hub = await serveHub(context);
  const bucket = await bucketOf(hub);
  await bucket.write('a', 'one');
  hub.challenge = 'second';
  await bucket.write('a', 'two');
  assert.equal(hub.files.get(`${key.public.address}/a`), 'two');
  assert.deepEqual(hub.tokens.map(({ iat, exp }) => [iat, exp]), Array(3).fill([1000, 4600]));
  hub.challenge = undefined;
  const stubborn = await serveHub(context, { refuse: (_, response) => (response.writeHead(413).end(`x\u001b[31m${'y'.repeat(500)}`), true) });
  await assert.rejects((await bucketOf(stubborn)).write('a', 'one'), ({ message, status }) => {
    assert.equal(status, 413);
    assert.match(message, /answered 413 to storing a: x \[31my{190,200}…$/);
    return true;
  });
  const revoked = await serveHub(context, { association: 'needed' });
  await assert.rejects((await bucketOf(revoked)).write('a', 'one'), /answered 401 to storing a without an association token: no association$/);
  await (await bucketOf(revoked, { associationToken: 'needed' })).write('a', 'one');
});

for (const status of [409, 429]) {
  test(`a hub that says ${status} for a moment is asked once more, when it says`, async (context) => {
    let refusals = 1;
    const refuse = (_, response) => refusals-- > 0 && response.writeHead(status, { 'Retry-After': '2' }).end('{}');
    const hub = await serveHub(context, { refuse });
    const waited = [];
    const bucket = await bucketOf(hub, { sleep: async (milliseconds) => void waited.push(milliseconds) });
    await bucket.write('a', 'one');
    assert.deepEqual(waited, [2000]);
    refusals = 2;
    await assert.rejects(bucket.write('a', 'two'), { name: 'BucketFailed', status });
  });
}

/** A server with an empty inbox, which is anybody's. */
async function serveInbox(context) {
  const inbox = await serve(context, (request, response) => {
    const document = { protocol: 'message-inbox', version: 1, origin: inbox.url };
    if (request.url.startsWith('/.well-known/')) return response.end(JSON.stringify(document));
    if (request.method === 'POST') return response.writeHead(204).end();
    if (request.url.startsWith('/v1/messages')) return response.end(JSON.stringify({ messages: [], cursor: 'c', more: false }));
    return response.end(JSON.stringify({ accept: 'anyone' }));
  });
  return inbox;
}

test('a card that its host does not show for a moment is not written over by a move', async (context) => {
  const [hub, inbox, next] = [await serveHub(context), await serveInbox(context), await serveInbox(context)];
  const device = () => clientOf(inbox.url, { hub: hub.url, inboxes: undefined, storage: new MemoryStorage(), clock: () => 1000 });
  const card = `${key.public.address}/inbox.json`;
  await device().publish([inbox.url]);
  const withdrawn = device();
  await withdrawn.forget();
  await device().publish([inbox.url]);
  const before = hub.files.get(card);
  const move = async (client = device()) => {
    const kinds = [];
    for await (const { kind } of client.move(next.url)) kinds.push(kind);
    return kinds;
  };
  const hide = { 'as if there were none': () => (hub.cached404 = new Set([card])), 'as if it were withdrawn': () => (hub.stale = new Map([[card, NO_CARD]])) };
  for (const [how, start] of Object.entries(hide)) {
    start();
    for (const client of [device(), withdrawn]) {
      await assert.rejects(move(client), { name: 'BadCard', isForNow: true, message: /has an inbox card that its host did not show/ }, how);
      assert.equal(hub.files.get(card), before, how);
    }
    delete hub.cached404;
    delete hub.stale;
  }
  hub.files.set(card, NO_CARD); // it was withdrawn
  assert.deepEqual(await move(), ['claimed', 'published', 'moved']);
  assert.notEqual(hub.files.get(card), NO_CARD);
  hub.files.clear();
  assert.deepEqual(await Promise.all([move(), move()]), Array(2).fill(['claimed', 'published', 'moved'])); // two devices begin
});

test('the first card is written unread, so that no cache says for long that there is none', async (context) => {
  const [hub, inbox] = [await serveHub(context), await serveInbox(context)];
  hub.cached404 = new Set();
  const storage = new MemoryStorage();
  const options = { hub: hub.url, inboxes: undefined, storage, clock: () => 1000 };
  await clientOf(inbox.url, options).publish([inbox.url]);
  assert.deepEqual(hub.asked.filter((each) => each.startsWith('GET')), ['GET hub_info']);
  // Another device finds a card, and its number grows.
  assert.deepEqual(await clientOf(inbox.url, { ...options, storage: new MemoryStorage() }).publish([inbox.url]), {
    inboxes: [inbox.url],
    seq: 1001,
  });
  // Whatever the cache says, or a half file: what is known goes on.
  for (const [spoil, name] of [[(path) => hub.cached404.add(path), 'BadCard'], [(path) => hub.files.set(path, '{"card":'), 'Unreachable']]) {
    hub.cached404.clear();
    spoil(`${key.public.address}/inbox.json`);
    const client = clientOf(inbox.url, { ...options, now: 0 });
    const { entries, problems, card } = await client.unread();
    assert.deepEqual([entries, problems, card.name], [[], [], name]);
    assert.deepEqual((await client.acknowledge([{ id: 'x' }])).map(({ problem }) => problem), [undefined]);
    const [told] = await newsOf(clientOf(inbox.url, options), 'card');
    assert.equal(told.problem.name, name);
  }
  await clientOf(inbox.url, options).publish([inbox.url]); // over a half file, too
});

/** Look-ups of the owner of `key`, whose bucket is `files`: a file's text, or the status that it is refused with. */
function lookUpsOf(url, more = {}) {
  const time = { clock: () => 1000, ticks: () => 0, askTime: async () => undefined };
  return new LookUps({ fetch, app: APP, names: [], agreement: false, prefixes: async () => [`${url}/`], ...time, ...more });
}

test('files that are empty or cut off are not there yet, and what is whole and wrong stays wrong', async (context) => {
  const files = {};
  const { url } = await serve(context, (request, response) => {
    const file = files[request.url.split('/').at(-1)];
    return file === undefined ? response.writeHead(404).end() : response.end(file);
  });
  const lookUps = lookUpsOf(url);
  const bucket = await lookUps.bucket(key.public.address);
  const card = makeCard(key, { inboxes: ['https://a.example'], seq: 1 }, 1000);
  for (files['inbox.json'] of ['', card.slice(0, 100), '<h1>soon</h1>']) await assert.rejects(lookUps.card(bucket), Unreachable);
  files['inbox.json'] = '{"card":"x.y.z"}';
  await assert.rejects(lookUps.card(bucket), { name: 'BadCard', isForNow: false });
  files['inbox.json'] = card;
  assert.deepEqual((await lookUps.card(bucket)).inboxes, ['https://a.example']);
  await assert.rejects(lookUps.key(bucket), { name: 'NotProven', isForNow: true });
  for (files['key.json'] of ['', `"${key.public.hex.slice(0, 20)}`, key.public.hex.slice(0, 20)]) {
    await assert.rejects(lookUps.key(bucket), Unreachable);
  }
  files['key.json'] = JSON.stringify(`02${'11'.repeat(32)}`);
  await assert.rejects(lookUps.key(bucket), { name: 'NotProven', isForNow: false });
  files['pk.txt'] = key.public.hex;
  assert.equal((await lookUps.key(bucket)).hex, key.public.hex);
});

test('a card that is missing, of somebody who had one, makes a delivery wait, and then go', async (context) => {
  const files = { 'key.json': JSON.stringify(key.public.hex) };
  const { url } = await serve(context, (request, response) => {
    const file = files[request.url.split('/').at(-1)];
    return file === undefined ? response.writeHead(404).end() : response.end(file);
  });
  const state = new State(new MemoryStorage(), '');
  const recipients = new Recipients(lookUpsOf(url), new SeenCards(state), new Lapses(state, () => 1000, async () => 1000));
  const { address } = key.public;
  await assert.rejects(recipients.find(address), (error) => error instanceof BadCard && error.isNone);
  files['inbox.json'] = makeCard(key, { inboxes: ['https://a.example'], seq: 1 }, 1000);
  assert.deepEqual((await recipients.find(address)).card.inboxes, ['https://a.example']);
  const whole = files['inbox.json'];
  for (files['inbox.json'] of [undefined, whole.slice(0, 50)]) {
    const { card: unread } = await recipients.find(address);
    assert.ok(unread instanceof Unreachable);
    let now = 1000;
    const deliver = async () => ({ id: 'id', expires: 2000 });
    const cardOf = (recipient) => recipients.cardOf(recipient);
    const outbox = new Outbox({ state, random, deliver, cardOf, clock: () => now, askTime: async () => now });
    const sent = await outbox.send(sending('one', address, '{}'), unread);
    assert.deepEqual(sent.waiting.map(({ inbox }) => inbox), ['']);
    now += 60;
    assert.equal((await outbox.retry())[0].waiting.length, 1);
    files['inbox.json'] = whole;
    now += 3600;
    assert.deepEqual((await outbox.retry())[0].stored.map(({ inbox }) => inbox), ['https://a.example']);
    assert.deepEqual(await outbox.waiting(), []);
  }
});

test('what is missing is missing for now until it has been so for three days, also on another page', async () => {
  const storage = new MemoryStorage();
  let now = 1000;
  const missing = async () => {
    throw new BadCard('There is none.', { isForNow: true });
  };
  const lapses = () => new Lapses(new State(storage, ''), () => now, async () => now);
  const isForNow = async () => lapses().during('it', missing).catch((error) => error.isForNow);
  assert.equal(await isForNow(), true);
  now += 3 * DAY - 1;
  assert.equal(await isForNow(), true);
  await lapses().during('it', async () => 'there');
  assert.equal(await isForNow(), true);
  now += 3 * DAY;
  assert.equal(await isForNow(), false);
  now = 500; // a clock that was ahead when it was noted
  assert.equal(await isForNow(), true);
});
