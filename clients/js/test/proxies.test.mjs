/** What stands between: proxies that answer for a server, that end its streams, or that have moved somebody. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { readEvents } from '../dist/events.js';
import { FINAL_CODES } from '../dist/errors.js';
import { MemoryStorage, Unreachable } from '../dist/index.js';
import { Inbox } from '../dist/inbox.js';
import { AppKey } from '../dist/keys.js';
import { Outbox } from '../dist/outbox.js';
import { getText, readBody } from '../dist/requests.js';
import { State } from '../dist/state.js';
import { APP, clientOf, events, KEY, newsOf, page, PAGE, problem, sending, serve } from './serving.mjs';

const idOf = (messageId) => createHash('sha256').update(messageId).digest('base64url');
const inboxAt = (url, now = () => 1000) =>
  new Inbox(url, { fetch, clock: now, ticks: () => 0, key: AppKey.parse(KEY), app: APP });
const outboxTo = (url, more = {}) =>
  new Outbox({
    ...{ state: new State(new MemoryStorage(), ''), clock: () => 1000, random: (length) => new Uint8Array(length) },
    askTime: async () => 1000,
    deliver: (inbox, { body, recipient }) => inboxAt(inbox).deliver(body, { sender: 'alice.id', recipient }),
    ...more,
  });
const BODY = JSON.stringify({ message_id: 'opaque' });

test('only a refusal of the protocol is final, also for a delivery that waits already', async (context) => {
  const html = (status) => (response) =>
    response.writeHead(status, { 'Content-Type': 'text/html', Location: 'http://127.0.0.1:9/' }).end('<h1>Blocked</h1>');
  const answers = [
    ...[302, 401, 403, 404, 405, 410, 413, 422, 451].map(html),
    (response) => response.writeHead(403, { 'Content-Type': 'application/json' }).end('{"code":"not_accepted"}'),
    (response) => response.writeHead(403, { 'Content-Type': 'application/problem+json' }).end('{"title":"Forbidden"}'),
    (response) => problem(response, 403, 'of_the_future'),
    (response) => problem(response, 401, 'no_token'),
    (response) => response.writeHead(200).end('{}'),
    (response) => response.writeHead(201).end(JSON.stringify({ id: idOf('another'), expires: 2000 })),
    (response) => response.writeHead(200).end(),
  ];
  const { url, requests } = await serve(context, (_, response, number) => {
    const answer = answers[number - 1];
    if (answer) return answer(response);
    return response.writeHead(201).end(JSON.stringify({ id: idOf('opaque'), expires: 2000 }));
  });
  const outbox = outboxTo(url);
  const reports = [await outbox.send(sending('one', 'bob.id', BODY), [url])];
  for (const _ of answers) reports.push(...(await outbox.retry()));
  assert.equal(requests.length, answers.length + 1);
  for (const { waiting, refused } of reports.slice(0, -1)) assert.deepEqual([waiting.length, refused.length], [1, 0]);
  assert.deepEqual(reports.at(-1).stored, [{ inbox: url, id: idOf('opaque'), expires: 2000 }]);
  assert.deepEqual(await outbox.waiting(), []);
});

test('the codes that are final are those of the protocol page that no wait helps', () => {
  const text = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8');
  const [, table] = /<!-- errors:(.*?)<!-- \/errors -->/s.exec(text);
  const rows = [...table.matchAll(/^\| `([a-z_]+)` \| ([0-9]{3}) \|/gm)];
  const passing = ['no_token', 'too_slow', 'too_many'];
  const final = rows.filter(([, code, status]) => status < 500 && !passing.includes(code)).map(([, code]) => code);
  assert.ok(final.length > 10);
  assert.deepEqual([...FINAL_CODES].sort(), final.sort());
});

test('an answer that is none is no acknowledgement, no settings and no stream', async (context) => {
  const { url } = await serve(context, (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('{}'));
  const client = clientOf(url);
  const [acknowledged] = await client.acknowledge([{ id: idOf('opaque') }]);
  assert.equal(acknowledged.problem.name, 'Unreachable');
  const [claimed] = await client.claim();
  assert.equal(claimed.problem.name, 'Unreachable');
  const [down] = await newsOf(client, 'down');
  assert.match(down.problem.message, /something else than events/);
});

test('a server is not asked for a feature that it does not list', async (context) => {
  const { url, requests } = await serve(context, (_, response) =>
    response.end(JSON.stringify({ protocol: 'message-inbox', version: 1, origin: url })),
  );
  const [{ problem: why }] = await clientOf(url).subscriptions();
  assert.match(why.message, /does not offer this/);
  await assert.rejects(clientOf(url).unsubscribe(url, { id: 'x' }), { name: 'InboxError' });
  assert.deepEqual(requests.map((request) => request.url), Array(2).fill('/.well-known/message-inbox'));
});

test('a redirect is followed for what anybody may read, and with no token', async (context) => {
  const elsewhere = await serve(context, (_, response) => response.end('a card'));
  const { url } = await serve(context, (request, response) =>
    response.writeHead(request.url === '/card' ? 301 : 307, { Location: `${elsewhere.url}/new` }).end(),
  );
  assert.equal(await getText(fetch, `${url}/card`, { maxBytes: 100 }), 'a card');
  const seen = elsewhere.requests.length;
  await assert.rejects(clientOf(url).unread(), { name: 'Unreachable' });
  await assert.rejects(inboxAt(url).deliver(BODY, { sender: 'alice.id', recipient: 'bob.id' }), { name: 'Unreachable' });
  await assert.rejects(clientOf(url, { hub: url, inboxes: undefined }).publish([url]), { name: 'Unreachable' });
  assert.equal(elsewhere.requests.length, seen);
  assert.equal(elsewhere.requests[0].headers.authorization, undefined);
});

test('an event comes whole wherever it is cut in two', async () => {
  const bytes = new TextEncoder().encode(': ping\n\nid: 1\r\nevent: state\r\ndata: {"a":"ü🐝"}\r\n\r\n');
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const chunks = (async function* () {
      yield bytes.subarray(0, cut);
      yield bytes.subarray(cut);
    })();
    const found = [];
    for await (const event of readEvents(chunks)) found.push(event);
    assert.deepEqual(found, [{ name: 'state', data: '{"a":"ü🐝"}' }], `cut at ${cut}`);
  }
});

const state = (cursor, ...texts) => {
  const messages = texts.map((text) => ({ message_id: text, expires: 2000 }));
  return `id: ${cursor}\nevent: state\ndata: ${JSON.stringify({ messages, cursor, more: false })}\n\n`;
};

test('a stream that a proxy ends cleanly was cut off: only `end` is an end, and the rest comes', { timeout: 10_000 }, async (context) => {
  const streams = [state('c1', 'first'), `${state('c2', 'second')}event: en`, state('c3', 'third')];
  const { url, requests } = await serve(context, (_, response, number) => {
    const text = streams[number - 1] ?? '';
    // Its length is said, so the answer ends while its connection stays open.
    return response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Content-Length': Buffer.byteLength(text) }).end(text);
  });
  const news = await newsOf(clientOf(url, { clock: () => 1000 }), 'message', 'message', 'message', 'down');
  assert.deepEqual(news.slice(0, 3).map(({ entry }) => entry.messageId), ['first', 'second', 'third']);
  assert.equal(news[3].problem.message, 'The connection was cut off.'); // of an answer in which nothing came
  assert.deepEqual(requests.slice(0, 3).map(({ headers }) => headers['last-event-id']), [undefined, 'c1', 'c2']);
});

for (const how of ['raises', 'is cancelled']) {
  test(`a handler that ${how} in the middle of a page gets the whole page again`, async (context) => {
    const { url, requests } = await serve(context, (_, response) => events(response).write(state('c1', 'one', 'two', 'three')));
    const storage = new MemoryStorage();
    const watched = async () => {
      const aborter = new AbortController();
      const got = [];
      for await (const news of clientOf(url, { storage, clock: () => 1000 }).watch({ resume: true, signal: aborter.signal })) {
        if (news.kind !== 'message') continue;
        got.push(news.entry.messageId);
        if (got.length === 2 && how === 'raises') throw new Error('of the handler');
        if (got.length === 2) aborter.abort();
      }
      return got;
    };
    await (how === 'raises' ? assert.rejects(watched(), { message: 'of the handler' }) : watched());
    const again = await newsOf(clientOf(url, { storage, clock: () => 1000 }), 'message', 'message', 'message');
    assert.deepEqual(again.map(({ entry }) => entry.messageId), ['one', 'two', 'three']);
    assert.deepEqual(requests.map(({ headers }) => headers['last-event-id']), [undefined, undefined]);
  });
}

test('a reader that gets no stream, or loses it to another, lists meanwhile', async (context) => {
  const streams = [
    (response) => problem(response, 429, 'too_many', { 'Retry-After': '5' }),
    (response) => events(response).end('event: end\ndata: {"reason":"replaced"}\n\n'),
    (response) => events(response).write(': ping\n\n'),
  ];
  const pages = ['one', 'two'];
  const asked = [];
  const { url } = await serve(context, (request, response) => {
    asked.push(request.url);
    if (request.url === '/v1/events') return (streams.shift() ?? streams[0])(response);
    const text = pages.shift();
    return page(response, { ...PAGE, messages: [{ message_id: text, expires: 2000 }], cursor: text });
  });
  const waited = [];
  let now = 0;
  const sleep = async (milliseconds) => {
    waited.push(milliseconds / 1000);
    now += milliseconds / 1000;
    await new Promise((resolve) => setImmediate(resolve));
  };
  const news = await newsOf(clientOf(url, { sleep, ticks: () => now, clock: () => 1000 }), 'down', 'message', 'down', 'message', 'up');
  assert.deepEqual([news[1], news[3]].map(({ entry }) => entry.messageId), ['one', 'two']);
  assert.deepEqual(asked.slice(0, 4), ['/v1/events', '/v1/messages?limit=100', '/v1/events', '/v1/messages?limit=100&after=one']);
  assert.ok(waited.includes(5) && waited.includes(60));
});

test('a delivery whose life was over on the way is signed anew, by the time of the server', async (context) => {
  const signed = [];
  const { url } = await serve(context, (request, response, number) => {
    signed.push(JSON.parse(Buffer.from(request.headers.authorization.split('.')[1], 'base64url')).iat);
    if (number === 1) return problem(response, 422, 'ttl_passed', { Date: new Date(1_055_000).toUTCString() });
    return response.writeHead(201).end(JSON.stringify({ id: idOf('opaque'), expires: 2000 }));
  });
  await inboxAt(url).deliver(BODY, { sender: 'alice.id', recipient: 'bob.id' });
  assert.deepEqual(signed, [1000, 1055]);
});

/** An answer in pieces; `pull` is called before each, and gives undefined at the end. */
function answerOf(pull) {
  return new Response(
    new ReadableStream({
      pull(controller) {
        const piece = pull();
        if (piece) controller.enqueue(piece);
        else if (piece === null) controller.close();
        else return new Promise(() => undefined);
        return undefined;
      },
    }),
  );
}

test('a slow line gets through, and one that stops or crawls does not', async (context) => {
  let [now, left] = [0, 100];
  const slow = answerOf(() => ((now += 1), left-- > 0 ? new Uint8Array(64 * 1024) : null));
  assert.equal((await readBody(slow, 10 << 20, () => now)).length, 100 * 64 * 1024);
  const crawling = answerOf(() => ((now += 10), new Uint8Array(1)));
  await assert.rejects(readBody(crawling, 10 << 20, () => now), Unreachable);
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const stopped = readBody(answerOf(() => undefined), 100, () => now);
  await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(15_000);
  await assert.rejects(stopped, /did not answer in time/);
});

test('an upload has the time that its size takes on a slow line', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const began = [];
  const hanging = (_, { signal }) =>
    new Promise((_, reject) => {
      began.push(signal);
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  const { request } = await import('../dist/requests.js');
  const sent = request(hanging, 'http://hub.example/', { method: 'POST', body: 'x'.repeat(4_400_000), seconds: 60 });
  context.mock.timers.tick(69_000); // 4.4 MB at 64 KB/s
  assert.equal(began[0].aborted, false);
  context.mock.timers.tick(300_000);
  await assert.rejects(sent, /did not answer in time/);
});
