/**
 * Calls of the client in clients/js, each by a client of its own, with what is left of the storage after it. Requests are
 * told by their origin and the type of the token that they carried; the origins in `down` cannot be reached.
 */
import * as client from '../../clients/js/dist/index.js';
import { fromContent, toContent } from './content.mjs';
import { serve } from './serve.mjs';

function asJson(_, value) {
  if (value instanceof Error) return { error: value.name, ...value, message: value.message };
  return value instanceof Uint8Array ? fromContent(value) : value;
}

await serve(async ({ options, now, stored = {}, down = [], method, args }) => {
  const storage = new client.MemoryStorage();
  for (const [key, value] of Object.entries(stored)) storage.setItem(key, value);
  const kept = new Set(Object.keys(stored));
  const remembering = {
    getItem: async (key) => storage.getItem(key), // as slow as a database, so that waiting for it is tested
    setItem: async (key, value) => storage.setItem(kept.add(key) && key, value),
    removeItem: async (key) => storage.removeItem(kept.delete(key) && key),
  };
  const requests = [];
  const fetching = (url, what = {}) => {
    const authorization = new Headers(what.headers).get('Authorization');
    const token = authorization?.split(/ |v1:/).at(-1);
    const header = token?.includes('.') ? JSON.parse(Buffer.from(token.split('.')[0], 'base64url')) : {};
    requests.push({ origin: new URL(url).origin, type: header.typ ?? null, body: what.body ?? null, authorization });
    return down.includes(new URL(url).origin) ? Promise.reject(new TypeError('fetch failed')) : fetch(url, what);
  };
  const clock = () => now;

  async function call() {
    if (method === 'check') return client.check(...args, { fetch: fetching, clock });
    const user = new client.InboxClient({ ...options, storage: remembering, fetch: fetching, clock });
    return user[method](...args.map((each) => (each?.content ? toContent(each.content) : each)));
  }

  const outcome = await call().then((result) => ({ result: result ?? null }), (problem) => ({ problem }));
  const left = Object.fromEntries([...kept].map((key) => [key, storage.getItem(key)]));
  return JSON.parse(JSON.stringify({ ...outcome, stored: left, requests }, asJson));
});
