/** Small servers for the tests, and clients of theirs. */
import { once } from 'node:events';
import { createServer } from 'node:http';

import { InboxClient } from '../dist/index.js';

export const KEY = '11'.repeat(32);
export const APP = 'https://chat.example';
/** Time passes at once, but passes: what waits for a connection gets its turn. */
export const soon = () => new Promise((resolve) => setImmediate(resolve));
export const PAGE = { messages: [], cursor: 'one', more: false };

/** A server that answers with `answer(request, response, number)`; it is gone after the test. */
export async function serve(context, answer) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response, requests.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

export function clientOf(url, more = {}) {
  return new InboxClient({ privateKey: KEY, app: APP, inboxes: [url], sleep: soon, ...more });
}

export function problem(response, status, code, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/problem+json', ...headers });
  response.end(JSON.stringify({ code, detail: 'Said by a test.', status }));
}

export function clockRefusal(response, now) {
  response.writeHead(401, { 'Content-Type': 'application/problem+json' });
  response.end(JSON.stringify({ code: 'bad_token', member: 'iat', now }));
}

/** The head of a stream of events; the rest is the caller's to write. */
export function events(response) {
  return response.writeHead(200, { 'Content-Type': 'text/event-stream' });
}

export function page(response, document = PAGE) {
  response.writeHead(200).end(JSON.stringify(document));
}

/** The first piece of news of each kind, in this order; then the watching ends. */
export async function newsOf(client, ...kinds) {
  const found = [];
  for await (const news of client.watch()) {
    if (news.kind === kinds[0]) found.push([kinds.shift(), news][1]);
    if (kinds.length === 0) break;
  }
  return found;
}

/** What an outbox is given for a delivery without receipts, as older versions kept it. */
export const sending = (id, recipient, body) => ({ id, recipient, body });
