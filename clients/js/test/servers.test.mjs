/** What the real server seldom does: limits, broken answers, streams that end in every way; by small servers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { readEvents } from '../dist/events.js';
import { InboxClient, MemoryStorage, Unreachable } from '../dist/index.js';
import { Outbox } from '../dist/outbox.js';
import { State } from '../dist/state.js';
import { APP, clientOf, clockRefusal, events, KEY, newsOf, page, PAGE, problem, sending, serve, soon } from './serving.mjs';

test('Retry-After is obeyed: until it is over, nothing is asked', async (context) => {
  const { url, requests } = await serve(context, (_, response, number) =>
    number === 1 ? problem(response, 429, 'too_many', { 'Retry-After': '30' }) : page(response),
  );
  let now = 1000;
  const client = clientOf(url, { ticks: () => now });
  await assert.rejects(client.unread(), { name: 'Refused', code: 'too_many', retryAfterSeconds: 30 });
  now += 29;
  await assert.rejects(client.unread(), { name: 'Refused', code: 'too_many', retryAfterSeconds: 1 });
  assert.equal(requests.length, 1);
  now += 1;
  assert.deepEqual(await client.unread(), { entries: [], problems: [] });
});

test('what is not the protocol is told as unreachable, and never thrown as a bug', async (context) => {
  const answers = [
    (response) => response.writeHead(502).end('<h1>Bad gateway</h1>'),
    (response) => response.writeHead(200).end('[]'),
    (response) => response.writeHead(200).end('{"messages":[null],"cursor":"","more":false}'),
    (response) => response.writeHead(200).end('{"messages":[{"message_id":1}],"cursor":"","more":false}'),
    (response) => response.writeHead(302, { Location: 'http://127.0.0.1:9/' }).end(),
    (response) => response.writeHead(200).end(Buffer.from([0xff, 0xfe])),
    (response) => response.destroy(),
    (response) => response.writeHead(200, { 'Content-Length': '100' }).write('{', () => response.destroy()),
  ];
  const { url } = await serve(context, (_, response, number) => answers[number - 1](response));
  const client = clientOf(url);
  for (const _ of answers) await assert.rejects(client.unread(), { name: 'Unreachable' });
});

test('a server that gives wrong ids cannot make another entry of one', async (context) => {
  const { url } = await serve(context, (_, response) =>
    page(response, { ...PAGE, messages: [{ id: 'of another', message_id: 'opaque', expires: 2000 }] }),
  );
  const { entries } = await clientOf(url).unread();
  assert.deepEqual(entries.map(({ id }) => id), [createHash('sha256').update('opaque').digest('base64url')]);
});

test('a clock is corrected once, and a server that is never content is not asked for ever', async (context) => {
  const { url, requests } = await serve(context, (_, response) => {
    clockRefusal(response, 5000);
  });
  await assert.rejects(clientOf(url).unread(), { name: 'Refused', code: 'bad_token', serverTime: 5000 });
  assert.equal(requests.length, 2);
});

test('events are read however they are cut, with comments, both line ends and letters of several bytes', async () => {
  const text = ': ping\n\nid: 1\nevent: state\ndata: {"a":"ü🐝"}\n\nevent: end\r\ndata:x\r\ndata: y\r\n\r\nevent: empty\n\ndata: half';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const chunks = (async function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    })();
    const events = [];
    for await (const event of readEvents(chunks)) events.push(event);
    assert.deepEqual(events, [{ name: 'state', data: '{"a":"ü🐝"}' }, { name: 'end', data: 'x\ny' }], `by ${size}`);
  }
});

test('a stream that is cut off, that ends, or whose cursor is gone is begun anew where it was', async (context) => {
  const listed = (text) => ({ message_id: text, expires: 2000 });
  const state = (cursor, ...messages) =>
    `id: ${cursor}\nevent: state\ndata: ${JSON.stringify({ messages, cursor, more: false })}\n\n`;
  const streams = [
    (response) => response.write(state('c1', listed('first')), () => response.destroy()),
    (response) => response.end(`: ping\n\nevent: end\ndata: {"reason":"token_expired"}\n\n`),
    (response) => response.end(`: ping\n\nevent: end\ndata: {"reason":"cursor_gone"}\n\n`),
    (response) => response.write(state('c2', listed('second'))),
  ];
  const { url, requests } = await serve(context, (_, response, number) => {
    events(response);
    streams[Math.min(number, streams.length) - 1](response);
  });
  const news = await newsOf(clientOf(url, { clock: () => 1000 }), 'up', 'message', 'message', 'read');
  assert.deepEqual(requests.map(({ headers }) => headers['last-event-id']), [undefined, 'c1', 'c1', undefined]);
  assert.deepEqual(news.slice(1, 3).map(({ entry }) => entry.messageId), ['first', 'second']);
  assert.equal(news[3].id, news[1].entry.id); // it was read while the cursor was gone
});

test('a stream whose place another reader took is begun anew a minute later', async (context) => {
  const { url } = await serve(context, (request, response, number) => {
    if (request.url.startsWith('/v1/messages')) return page(response);
    events(response);
    if (number === 1) return response.end(': ping\n\nevent: end\nretry: 10000\ndata: {"reason":"replaced"}\n\n');
    return response.write('event: state\ndata: {"messages":[],"cursor":"c","more":false,"notices":["inbox_full"]}\n\n');
  });
  const waited = [];
  const sleep = (milliseconds) => (waited.push(milliseconds), soon());
  await newsOf(clientOf(url, { sleep, clock: () => 1000 }), 'up', 'notice');
  assert.ok(waited.some((milliseconds) => milliseconds >= 60_000), String(waited));
});

test('what another device read is told also where the clock is a month ahead', async (context) => {
  const now = 1000;
  const state = (...messages) => `event: state\ndata: ${JSON.stringify({ messages, cursor: 'one', more: false })}\n\n`;
  const streams = [state({ message_id: 'opaque', expires: 2000 }) + 'event: end\ndata: {"reason":"cursor_gone"}\n\n', state()];
  const { url } = await serve(context, (request, response) => {
    const [, claims] = request.headers.authorization.split('.');
    if (JSON.parse(Buffer.from(claims, 'base64url')).iat > now + 60) {
      return clockRefusal(response, now);
    }
    return events(response).write(streams.shift() ?? ': ping\n\n');
  });
  const [message, read] = await newsOf(clientOf(url, { clock: () => now + 31 * 86_400 }), 'message', 'read');
  assert.equal(read.id, message.entry.id);
});

test('what was read and is listed again is acknowledged again, as after a restore', async (context) => {
  const listed = { id: 'x', message_id: 'opaque', expires: 4_000_000_000 };
  const id = createHash('sha256').update('opaque').digest('base64url');
  const state = (more) => `event: state\ndata: ${JSON.stringify({ messages: [], cursor: 'one', more: false, ...more })}\n\n`;
  const streams = [
    [state({ messages: [listed] }), state({ read: [id] }), 'event: end\ndata: {"reason":"cursor_gone"}\n\n'],
    [state({ messages: [listed] }), state({ notices: ['inbox_full'] })],
  ];
  const acked = [];
  const { url } = await serve(context, (request, response) => {
    if (request.url === '/v1/messages/ack') {
      request.on('data', (body) => acked.push(JSON.parse(body))).on('end', () => response.writeHead(204).end());
    } else events(response).write((streams.shift() ?? []).join(''));
  });
  await newsOf(clientOf(url), 'message', 'read', 'notice');
  assert.deepEqual(acked, [{ ids: [id] }]);
});

test('a refusal of the stream is told, and its Retry-After is waited for', async (context) => {
  const { url } = await serve(context, (_, response, number) => {
    if (number === 1) return problem(response, 503, 'stopping', { 'Retry-After': '7' });
    return events(response).write(': ping\n\n');
  });
  const waited = [];
  let now = 1000;
  const sleep = async (milliseconds) => {
    waited.push(milliseconds);
    now += milliseconds / 1000;
    await soon();
  };
  const [down] = await newsOf(clientOf(url, { sleep, ticks: () => now }), 'down', 'up');
  assert.equal(down.problem.code, 'stopping');
  assert.ok(waited.includes(7000));
});

test('pauses grow at random up to a minute while a server is down', async () => {
  const waited = [];
  const random = (length) => new Uint8Array(length).fill(0xff);
  const sleep = (milliseconds) => (waited.push(milliseconds), soon());
  const client = clientOf('http://127.0.0.1:9', { random, sleep });
  await newsOf(client, ...Array(9).fill('down'));
  const pauses = waited.filter((each) => each !== 30_000).map((each) => Math.round(each / 1000));
  assert.deepEqual(pauses.slice(0, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
});

test('behind a proxy that lets no stream through, held requests bring the news', async (context) => {
  let isNews = false;
  const { url, requests } = await serve(context, (request, response) => {
    if (request.url.startsWith('/v1/events')) return events(response).flushHeaders();
    if (!request.url.includes('wait=')) return page(response);
    return isNews && page(response, { ...PAGE, cursor: 'two', messages: [{ message_id: 'opaque', expires: 2000 }] }); // else held
  });
  const client = clientOf(url, { silenceSeconds: 0.05, clock: () => 1000 });
  await newsOf(client, 'down', 'up');
  isNews = true;
  const [, , news] = await newsOf(client, 'down', 'up', 'message');
  assert.equal(news.entry.messageId, 'opaque');
  assert.ok(requests.some((request) => request.url === '/v1/messages?limit=100&after=one&wait=50'));
});

test('a delivery is kept before it is sent, and until every inbox has answered', async () => {
  const state = new State(new MemoryStorage(), '');
  const kept = [];
  const deliver = async () => {
    kept.push(Object.keys(await state.read('outbox')));
    return { id: 'id', expires: 2000 };
  };
  const outbox = new Outbox({ state, clock: () => 1000, random: (length) => new Uint8Array(length), deliver });
  await outbox.send(sending('one', 'bob.id', '{}'), ['https://a.example', 'https://b.example']);
  assert.deepEqual(kept, [['one'], ['one']]);
  assert.deepEqual(await outbox.waiting(), []);
});

test('a delivery that waited by a clock a month ahead is tried again when the clock is right', async () => {
  let [now, isDown] = [31 * 86_400, true];
  const deliver = async () => {
    if (isDown) throw new Unreachable('down');
    return { id: 'id', expires: 2000 };
  };
  const cardOf = async () => ({ inboxes: ['https://a.example'] });
  const [state, random] = [new State(new MemoryStorage(), ''), (length) => new Uint8Array(length).fill(0xff)];
  const outbox = new Outbox({ state, clock: () => now, random, deliver, cardOf });
  await outbox.send(sending('one', 'bob.id', '{}'), ['https://a.example']);
  assert.deepEqual(await outbox.retry(), []);
  [now, isDown] = [1000, false];
  const [{ stored }] = await outbox.retry();
  assert.equal(stored.length, 1);
});

test('options that cannot be are refused at once', () => {
  for (const wrong of [{ app: 'https://chat.example/' }, { privateKey: 'zz' }, { inboxes: ['inbox.example'] }, { inboxes: [] }, { name: 'Alice' }]) {
    assert.throws(() => new InboxClient({ privateKey: KEY, app: APP, ...wrong }));
  }
});
