/** What real networks and hosts do to readers: pages in place of a server, restored servers, buckets that fail for a while. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { makeCard } from '../dist/card.js';
import { MemoryStorage, Unreachable } from '../dist/index.js';
import { AppKey } from '../dist/keys.js';
import { Lapses } from '../dist/lapses.js';
import { LookUps } from '../dist/lookups.js';
import { Merging } from '../dist/merging.js';
import { readOptions } from '../dist/options.js';
import { Outbox } from '../dist/outbox.js';
import { Own } from '../dist/own.js';
import { idOf, readPage } from '../dist/pages.js';
import { Recipients } from '../dist/recipients.js';
import { SeenCards } from '../dist/seen.js';
import { State } from '../dist/state.js';
import { parseToken } from '../dist/tokens.js';
import { DAY, World } from './liar.mjs';
import { APP, clientOf, clockRefusal, events, KEY, newsOf, page, problem, sending, serve, soon } from './serving.mjs';
import { cardOf, laptopOf, meet, read, settle } from './speaking.mjs';

const FEATURES = ['log', 'receipts', 'sealed'];
const textsOf = async (client, entries) => (await Promise.all(entries.map((entry) => client.fetch(entry)))).map(({ content }) => content);
/** The same device, after its page was opened anew. */
const reopened = (world, { key, storage, ...who }) => ({ ...who, client: world.device(key, { storage }) });

test('a server whose capability document is not to be had for a moment is not one without a log or tickets', async () => {
  const { world, bob } = await meet(new World(), { features: FEATURES });
  const { sealed } = parseToken(JSON.parse(cardOf(world, bob)).card).claims;
  assert.ok(sealed);
  world.ticks += 301; // what was heard before is old
  const answer = bob.server.answer.bind(bob.server);
  bob.server.answer = (request) => (request.path.startsWith('/.well-known') ? new Response('<h1>Bad gateway</h1>', { status: 502 }) : answer(request));
  const { findings } = await bob.client.audit();
  assert.deepEqual(findings.map(({ code, text }) => [code, text]), [['unreachable', 'bob.test answers (502), but not as an inbox server does.']]);
  await bob.publish();
  assert.deepEqual(parseToken(JSON.parse(cardOf(world, bob)).card).claims.sealed, sealed);
  assert.deepEqual((await bob.client.forget()).map(({ problem: why }) => why.name), ['Unreachable']);
  assert.ok(bob.server.inbox); // else its checkpoint would have stayed
  delete bob.server.answer;
  assert.deepEqual((await bob.client.forget()).map(({ problem: why }) => why), [undefined]);
});

test('what was read before a server was restored is told to nobody again, also after the page was closed', async () => {
  const { world, alice, bob } = await meet(new World(), { features: FEATURES });
  await alice.client.send(bob.id, 'read before');
  const copy = bob.server.copy();
  assert.deepEqual(await read(bob), ['read before']);
  const wereRead = () => new Set(bob.server.inbox.changes.filter((change) => change.read).map(({ id }) => id)).size;
  for (const look of [
    async ({ client }) => (await client.unread()).entries,
    async ({ client }) => (await newsOf(client, 'message')).map(({ entry }) => entry),
  ]) {
    bob.server.putBack(copy);
    const before = wereRead();
    await alice.client.send(bob.id, 'new');
    const again = reopened(world, bob);
    assert.deepEqual(await textsOf(again.client, await look(again)), ['new']);
    assert.equal(wereRead(), before + 1);
  }
});

test('what was read here and could not be told before another device moved the inbox stays read', async () => {
  const { world, alice, bob } = await meet(new World(), { features: FEATURES });
  const laptop = laptopOf(world, bob);
  await alice.client.send(bob.id, 'read on the laptop');
  const { entries } = await laptop.client.unread();
  bob.server.breaks = (method, path) => path === '/v1/messages/ack';
  const acknowledge = bob.server.answer.bind(bob.server);
  bob.server.answer = (request) => (request.path === '/v1/messages/ack' ? new Response('', { status: 502 }) : acknowledge(request));
  assert.deepEqual((await laptop.client.acknowledge(entries)).map(({ problem: why }) => why.name), ['Unreachable']);
  [bob.server.breaks] = [() => false, delete bob.server.answer];
  const next = world.serve('https://next.test');
  Object.assign(next, { features: FEATURES, owner: bob.address });
  for await (const _ of bob.client.move(next.origin));
  assert.deepEqual((await laptop.client.unread()).entries, []);
  assert.deepEqual((await bob.client.unread()).entries, []); // the new inbox has heard of it
});

test('what one server has lost and another lists is unread, until none lists it', () => {
  const [merging, nobody] = [new Merging(), new Set()];
  const page = (...texts) => readPage({ messages: texts.map((text) => ({ id: idOf(text), message_id: text, expires: 2000 })), cursor: 'one', more: false });
  const list = (inbox, ...texts) => {
    merging.startList(inbox);
    return merging.take(inbox, page(...texts), nobody, 1000).map(({ kind }) => kind);
  };
  assert.deepEqual([list('lost', 'a'), list('keeps', 'a'), list('lost')], [['message'], [], []]);
  assert.deepEqual(merging.readBefore('keeps', page('a'), nobody), []); // so it is acknowledged nowhere
  assert.deepEqual(list('keeps'), ['read']);
});

test('what was lost and comes back is told again, because nobody has said that it was read', async (context) => {
  const state = (cursor, ...texts) => {
    const messages = texts.map((text) => ({ id: idOf(text), message_id: text, expires: 4_000_000_000 }));
    return `event: state\ndata: ${JSON.stringify({ messages, cursor, more: false })}\n\n`;
  };
  const streams = [state('one', 'a') + 'event: end\ndata: {"reason":"cursor_gone"}\n\n', state('two') + state('three', 'a')];
  const { url, requests } = await serve(context, (_, response) => events(response).write(streams.shift() ?? ': ping\n\n'));
  const [one, gone, again] = await newsOf(clientOf(url, { clock: () => 1000 }), 'message', 'read', 'message');
  assert.deepEqual([one.entry.id, gone.id, again.entry.id], Array(3).fill(idOf('a')));
  assert.ok(requests.every((request) => request.url === '/v1/events'));
});

test('a watch comes back to what could not be fetched, in pauses that grow, until it is fetched or read', async () => {
  const { world, alice, bob } = await meet();
  await alice.client.send(bob.id, 'hello');
  const path = [...world.files.keys()].filter((each) => each.startsWith(`${alice.address}/outbox/`)).at(-1);
  const file = world.files.get(path);
  world.files.delete(path);
  const times = [];
  const sleep = async (milliseconds) => {
    if (milliseconds === 30_000) [world.now, world.ticks] = [world.now + 30, world.ticks + 30];
    await soon();
  };
  const begun = world.ticks;
  const client = world.device(bob.key, { storage: bob.storage, sleep });
  for await (const news of client.watch()) {
    if (news.kind !== 'message') continue;
    times.push([world.ticks - begun, news.isAgain]);
    if (times.length === 4) world.files.set(path, file);
    const content = await client.fetch(news.entry).then(({ content }) => content, ({ isForNow }) => isForNow);
    assert.equal(content, times.length < 4 ? true : 'hello');
    if (content === 'hello') break;
  }
  assert.deepEqual(times.map(([, isAgain]) => isAgain), [undefined, true, true, true]);
  const gaps = times.slice(1).map(([at], before) => at - times[before][0]);
  assert.ok(gaps.every((gap, at) => gap >= 60 * 2 ** at), gaps.join());
});

test('a delivery that waits for a card is not given up because a host shows an old one, or a clock is wrong', async (context) => {
  const key = AppKey.parse(KEY);
  const files = { 'key.json': JSON.stringify(key.public.hex) };
  const { url } = await serve(context, (request, response) => {
    const file = files[request.url.split('/').at(-1)];
    return file === undefined ? response.writeHead(404).end() : response.end(file);
  });
  let now = 100_000;
  const state = new State(new MemoryStorage(), '');
  const time = { clock: () => now, ticks: () => 0, askTime: async () => undefined };
  const lookUps = new LookUps({ fetch, app: APP, names: [], agreement: false, prefixes: async () => [`${url}/`], ...time });
  const seen = new SeenCards(state);
  const recipients = new Recipients(lookUps, seen, new Lapses(state, time.clock, time.askTime));
  const { address } = key.public;
  await seen.see(address, 7);
  const outbox = new Outbox({
    ...{ state, random: (length) => new Uint8Array(length), ...time },
    cardOf: (recipient) => recipients.cardOf(recipient),
    deliver: async () => ({ id: 'id', expires: 2000 }),
  });
  await outbox.send(sending('one', address, '{}'), new Unreachable('The inbox card is not whole.'));
  const card = (seq, at) => makeCard(key, { inboxes: ['https://a.example'], seq }, at);
  for (const made of [() => card(6, now), () => card(8, now + 3600), () => card(8, now - 401 * DAY), () => '{"card":"x"}']) {
    now += 3600 * 2;
    files['inbox.json'] = made();
    const [{ waiting, refused }] = await outbox.retry();
    assert.deepEqual([waiting.length, refused], [1, []]);
  }
  files['inbox.json'] = card(8, now);
  now += 3600 * 2;
  assert.deepEqual((await outbox.retry())[0].stored.map(({ inbox }) => inbox), ['https://a.example']);
});

test('the time is that of an own inbox, also where only a watch has asked it', async (context) => {
  const { url } = await serve(context, (request, response) => {
    const { iat } = JSON.parse(Buffer.from(request.headers.authorization.split('.')[1], 'base64url'));
    return iat > 1060 ? clockRefusal(response, 1000) : events(response).end(': ping\n\n');
  });
  const options = readOptions({ privateKey: KEY, app: APP, clock: () => 1000 + 31 * DAY });
  const own = new Own(AppKey.parse(KEY), options, new State(new MemoryStorage(), ''), [url]);
  const [inbox] = await own.inboxes();
  await (await inbox.events(undefined, new AbortController().signal)).body.cancel();
  assert.equal(own.now(), 1000);
});

test('a reader who finds no place to wait goes on listing and acknowledging', async (context) => {
  const { url, requests } = await serve(context, (request, response) => {
    if (request.url.startsWith('/v1/events')) return events(response).flushHeaders();
    if (request.url.includes('wait=')) return problem(response, 429, 'too_many', { 'Retry-After': '60' });
    if (request.url === '/v1/messages/ack') return response.writeHead(204).end();
    return page(response, { messages: [{ message_id: 'opaque', expires: 4_000_000_000 }], cursor: 'one', more: false });
  });
  const client = clientOf(url, { silenceSeconds: 0.05, ticks: () => 0 });
  const [, news] = await newsOf(client, 'down', 'message', 'down');
  assert.deepEqual(await client.acknowledge([news.entry]), [{ inbox: url, result: undefined }]);
  assert.ok(requests.some((request) => request.url === '/v1/messages?limit=100'));
});

test('a server that says for ever that its log goes on is not asked for ever', async () => {
  const world = new World();
  const bob = await settle(world, 'bob', { features: FEATURES });
  let asked = 0;
  bob.server.tell = (answer) => {
    if (!answer.log) return answer;
    asked += 1;
    const entries = [{ n: answer.log.head.n + 1, id: idOf('again') }];
    return { log: { ...answer.log, entries, more: asked < 1000 } };
  };
  await bob.client.audit();
  assert.ok(asked < 100, String(asked));
});
