/**
 * A hub and an inbox server in memory, behind a `fetch`, for Node and browsers. The server keeps the protocol, unless a test
 * makes it lie.
 */
import { fromBase64Url, toBase64Url, toHex, toUtf8 } from '../dist/bytes.js';
import { InboxClient, MemoryStorage } from '../dist/index.js';
import { AppKey } from '../dist/keys.js';
import { isLogged, nextHead } from '../dist/log.js';
import { leafOf, nodeOf } from '../dist/receipts.js';
import { idOf } from '../dist/pages.js';
import { weekOf } from '../dist/pairs.js';
import { idOfTicket } from '../dist/tickets.js';
import { parseToken, signToken } from '../dist/tokens.js';

export const DAY = 86_400;
/** Noon. */
export const START = 20_800 * DAY + DAY / 2;
const SETTINGS = { accept: 'anyone', retention: 30 * DAY, contacts: 0, blocked: 0, names: 0, unread: 0, quota: {}, notices: [] };
const RETENTION = 90 * DAY;
const HUB = 'https://hub.test';
const READ = 'https://read.test/';
const NAMES = 'https://names.test';
const APP = 'https://chat.example';
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
/** No time passes, but what waits for an answer gets its turn. Browsers have no `setImmediate`. */
export const soon = () => new Promise((resolve) => (globalThis.setImmediate ?? setTimeout)(resolve));
const json = (document, status = 200, headers = {}) => new Response(JSON.stringify(document), { status, headers });
const problem = (status, code, headers = {}) =>
  new Response(JSON.stringify({ code, status }), { status, headers: { 'Content-Type': 'application/problem+json', ...headers } });

export class World {
  now = START;
  ticks = 0;
  /** By how much the clocks of devices are wrong at the moment. */
  ahead = new Map();
  files = new Map();
  /** Paths that were read at the hub. */
  reads = [];
  names = new Map();
  servers = new Map();
  down = new Set();

  serve(origin = 'https://inbox.test') {
    const server = new Server(this, origin);
    this.servers.set(origin, server);
    return server;
  }

  /** A name, whose owner's profile leads to somebody's bucket: now, and not to another's any more. */
  name(name, { address }) {
    const owner = new AppKey(random(32));
    const isKey = { publicKey: owner.public.hex };
    const claims = { issuer: isKey, subject: isKey, claim: { apps: { [APP]: `${READ}${address}/` } } };
    const content = JSON.stringify([{ token: signToken(owner, 'JWT', claims) }]);
    this.files.set(`${name}/profile.json`, { content, etag: name });
    this.names.set(`/v1/names/${name}`, { address: owner.public.address, zonefile: `_http._tcp IN URI 10 1 "${READ}${name}/profile.json"` });
  }

  /** A device of somebody: what it stores is its own, the key may be on several. `ahead` is its clock's fault. */
  device(key, { ahead = 0, ...more } = {}) {
    const options = { privateKey: key, app: APP, hub: HUB, storage: new MemoryStorage(), sleep: soon, ...more };
    const clock = () => this.now + (this.ahead.get(device) ?? ahead);
    const device = new InboxClient({ ...options, ticks: () => this.ticks, clock, fetch: (...what) => this.#answer(...what) });
    return device;
  }

  async #answer(url, { method = 'GET', headers = {}, body, signal } = {}) {
    await soon();
    const { origin, pathname, searchParams } = new URL(url);
    if (this.down.has(origin)) throw new TypeError('fetch failed');
    if (url === `${HUB}/hub_info`) return json({ challenge_text: 'challenge', read_url_prefix: READ });
    if (origin === NAMES) return json(this.names.get(pathname));
    if (origin === HUB) return this.#store(pathname.slice('/store/'.length), headers, body);
    if (url.startsWith(READ)) return this.#read(url.slice(READ.length));
    const server = this.servers.get(origin);
    server.requests.push({ method, path: pathname, authorization: headers.Authorization, body });
    const response = server.answer({ method, path: pathname, query: searchParams, headers, body, signal });
    response.headers.set('Date', new Date((this.now + server.ahead) * 1000).toUTCString());
    if (server.breaks(method, pathname)) throw new TypeError('fetch failed');
    return response;
  }

  #store(path, headers, content) {
    const { etag } = this.files.get(path) ?? {};
    const isOther = (headers['If-None-Match'] === '*' && etag) || (headers['If-Match'] && headers['If-Match'] !== etag);
    if (isOther) return json({ message: 'another ETag' }, 412);
    const file = { content, etag: toHex(random(16)) };
    this.files.set(path, file);
    return json({ publicURL: READ + path, etag: file.etag }, 202);
  }

  #read(path) {
    this.reads.push(path);
    const file = this.files.get(path);
    return file ? new Response(file.content, { headers: { ETag: file.etag } }) : new Response('', { status: 404 });
  }
}

/** Of one owner. A test may change anything in it, and replace `tell`, which every answer to the owner passes through. */
export class Server {
  key = new AppKey(random(32));
  features = ['log', 'receipts'];
  restored = undefined;
  limits = { max_retention_seconds: RETENTION, log_entries: 100_000 };
  /** How long a message lives at most, in what senders are told. */
  longest = undefined;
  /** By how much the time that it signs in its log is ahead of the world's. */
  signedAhead = 0;
  /** By how much its clock is ahead of the world's. */
  ahead = 0;
  accept = 'anyone';
  isDraining = false;
  /** All that it was ever shown. */
  requests = [];
  /** Whether the connection breaks before the answer is there. */
  breaks = () => false;
  tell = (answer) => answer;
  /** Whether a delivery is kept; it is answered all the same. */
  keeps = () => true;
  #world;
  #told;

  constructor(world, origin) {
    this.#world = world;
    this.origin = origin;
  }

  claim() {
    const first = { n: random(2)[0] + 1000, head: toBase64Url(random(32)) };
    this.inbox = { changes: [], sheets: {}, used: {}, first, logged: [], lives: {}, name: toHex(random(4)) };
  }

  /** What a copy would have. */
  copy() {
    return structuredClone(this.inbox);
  }

  /** An honest operator puts a copy back: no cursor is good any more, and the log says so. */
  putBack(copy) {
    this.inbox = { ...structuredClone(copy), name: toHex(random(4)) };
    this.restored = Math.floor(this.#world.now / DAY);
  }

  /** What goes from the log because its time is over. */
  sweep() {
    const isOver = (id) => Math.max(this.inbox.lives[id].expires, this.inbox.lives[id].at + RETENTION + DAY) < this.#world.now;
    while (this.inbox?.logged.length > 0 && isOver(this.inbox.logged[0])) this.forget(1);
  }

  log({ first, logged } = this.inbox) {
    const state = JSON.stringify([first, logged]);
    if (this.#told?.state === state) return this.#told.log;
    let head = fromBase64Url(first.head);
    const entries = logged.map((id, at) => ({ n: first.n + at + 1, id }));
    for (const { n, id } of entries) head = nextHead(head, n, fromBase64Url(id));
    const log = { base: first, entries, head: { n: first.n + entries.length, head: toBase64Url(head) } };
    this.#told = { state, log };
    return log;
  }

  /** The oldest entries go, as they do when their time is over. */
  forget(count) {
    const { first, logged } = this.inbox;
    const step = (head, id, at) => nextHead(head, first.n + at + 1, fromBase64Url(id));
    const head = logged.slice(0, count).reduce(step, fromBase64Url(first.head));
    this.inbox.first = { n: first.n + count, head: toBase64Url(head) };
    this.inbox.logged = logged.slice(count);
  }

  answer({ method, path, query, headers: { Authorization }, body, signal }) {
    if (path === '/.well-known/message-inbox') return this.#capabilities();
    if (this.isDraining && (path === '/v1/messages' ? method === 'POST' : path === '/v1/inbox' && method === 'PUT')) return problem(503, 'draining', { 'Retry-After': '600' });
    if (Authorization.startsWith('InboxTicket ')) return this.#deliverSealed(JSON.parse(body), Authorization.split(' ')[1]);
    const { claims } = parseToken(Authorization.slice('Bearer '.length));
    if (path === '/v1/messages' && method === 'POST') return this.#deliver(JSON.parse(body), claims);
    if (path === '/v1/inbox' && method === 'PUT') return this.#put();
    if (!this.inbox) return problem(404, 'no_inbox');
    if (path === '/v1/inbox/tickets') return this.#keepSheet(JSON.parse(body));
    if (path === '/v1/inbox/log') return json(this.tell({ log: this.#signed(query, claims) }).log);
    if (query.has('after') && !query.get('after').startsWith(path === '/v1/messages' ? this.inbox.name : '')) return problem(410, 'cursor_gone');
    if (path === '/v1/messages') return json(this.tell({ page: this.#page(query) }).page);
    if (path === '/v1/events') return this.#stream(query, signal);
    if (path === '/v1/messages/ack') return this.#acknowledge(JSON.parse(body));
    if (method === 'DELETE') this.inbox = undefined;
    return method === 'DELETE' ? new Response(null, { status: 204 }) : json({ ...SETTINGS, ...this.#tickets() });
  }

  #tickets() {
    return this.features.includes('sealed') ? { tickets: Object.keys(this.inbox.sheets).map(Number) } : {};
  }

  #keepSheet({ week, ids }) {
    const raw = fromBase64Url(ids);
    const sheet = Array.from({ length: raw.length / 16 }, (_, at) => toHex(raw.subarray(at * 16, at * 16 + 16)));
    const isSorted = sheet.every((id, at) => at === 0 || sheet[at - 1] < id);
    const now = weekOf(this.#world.now + this.ahead);
    if (![1024, 2048, 4096].includes(sheet.length) || !isSorted || week < now || week > now + 4) return problem(400, 'bad_request');
    this.inbox.sheets[week] = sheet;
    return new Response(null, { status: 204 });
  }

  #deliverSealed(members, ticket) {
    const { sheets, used } = this.inbox ?? { sheets: {} };
    const id = toHex(idOfTicket(fromBase64Url(ticket)));
    const isOn = sheets[weekOf(this.#world.now + this.ahead)]?.includes(id) || used?.[id];
    if (!isOn || this.accept === 'nobody' || members.to !== this.owner) return problem(403, 'not_accepted');
    if ((used[id] ??= idOf(members.message_id)) !== idOf(members.message_id)) return problem(409, 'ticket_spent');
    return this.#deliver(members, { sub: members.to });
  }

  #capabilities() {
    const { limits } = this;
    const receipts = this.features.includes('receipts') ? { receipts: { key: this.key.public.hex } } : {};
    return json({ protocol: 'message-inbox', version: 1, origin: this.origin, features: this.features, limits, ...receipts });
  }

  #put() {
    const isNew = !this.inbox;
    if (isNew) this.claim();
    return json(SETTINGS, isNew ? 201 : 200);
  }

  #deliver({ message_id, ttl = 30 * DAY, receipt }, { sub }) {
    if (!this.inbox || this.accept === 'nobody') return problem(403, 'not_accepted');
    const id = idOf(message_id);
    const { now } = this.#world;
    const { changes, lives, logged } = this.inbox;
    ttl = Math.min(ttl, this.longest ?? ttl);
    const until = ttl < DAY ? now + ttl : Math.floor((now + ttl) / DAY) * DAY + DAY - 1;
    const expires = Math.max(until, lives[id]?.expires ?? 0);
    if (this.keeps() && expires !== lives[id]?.expires) {
      changes.push({ id, message_id, expires });
      if (isLogged(expires, now)) logged.push(id);
      lives[id] = { expires, at: now };
    }
    return json({ id, expires, ...(receipt ? { receipt: this.#receipt(id, expires, sub) } : {}) }, 201);
  }

  #receipt(id, expires, address) {
    const [salt, path] = [random(16), Array.from({ length: 9 }, () => random(32))];
    const root = toBase64Url(path.reduce(nodeOf, leafOf(salt, { address: this.owner ?? address, id, expires })));
    const claims = { iss: this.origin, root, day: Math.floor(this.#world.now / DAY) };
    return { token: signToken(this.key, 'inbox-receipt+jwt', claims), salt: toBase64Url(salt), path: path.map(toBase64Url) };
  }

  #page(query) {
    const { changes, name } = this.inbox;
    const after = query.has('after') ? Number(query.get('after').slice(name.length)) : 0;
    const read = new Set(changes.filter((change) => change.read).map(({ id }) => id));
    const fresh = changes.slice(after, after + Number(query.get('limit')));
    const last = new Map(changes.map((change) => [change.id, change]));
    const isThere = (change) => change.message_id && change.expires > this.#world.now && !read.has(change.id) && last.get(change.id) === change;
    const messages = fresh.filter(isThere).map(({ id, message_id, expires }) => ({ id, message_id, expires }));
    const end = after + fresh.length;
    const page = { messages, cursor: `${name}${end}`, more: end < changes.length };
    return query.has('after') ? { ...page, read: fresh.filter((change) => change.read).map(({ id }) => id) } : page;
  }

  /** What there is, and then nothing more. */
  #stream(query, signal) {
    query.set('limit', '100');
    const event = `event: state\ndata: ${JSON.stringify(this.#page(query))}\n\n`;
    const start = (controller) => {
      controller.enqueue(toUtf8(event));
      signal.addEventListener('abort', () => controller.error(signal.reason));
    };
    const body = new ReadableStream({ start });
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
  }

  #acknowledge({ ids }) {
    for (const id of ids) this.inbox.changes.push({ id, read: true });
    return new Response(null, { status: 204 });
  }

  #signed(query, { iss }) {
    const [after, limit] = [Number(query.get('after') ?? -1), Number(query.get('limit'))];
    const { base, entries, head } = this.log();
    const rest = entries.filter(({ n }) => n > after);
    const sub = this.owner;
    const restored = this.restored === undefined ? {} : { restored: this.restored };
    const claims = { iss: this.origin, sub, base, head, nonce: query.get('nonce'), iat: this.#world.now + this.signedAhead, ...restored };
    return { base, entries: rest.slice(0, limit), more: rest.length > limit, head, signed: signToken(this.key, 'inbox-head+jwt', claims) };
  }
}

export const newKey = () => toHex(random(32));
