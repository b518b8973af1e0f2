/** One inbox server, as its clients call it. */
import { sha256 } from '@noble/hashes/sha2.js';

import { fromUtf8, toBase64Url, toUtf8 } from './bytes.js';
import { Refused, Unreachable } from './errors.js';
import type { AppKey } from './keys.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch, Request } from './requests.js';
import { deliverToken, ownerToken, parseObject } from './tokens.js';
import type { Scope, UnixTime } from './tokens.js';

const MAX_ANSWER_BYTES = 8 << 20; // a page of 1,000 entries has less than 2 MB
const MAX_PAUSES = 1000;
const PAGE_SECONDS = 30;
const ACK_IDS = 1000; // the most that a server takes at once

/** What a server holds for its owner. */
export interface Listed {
  /** base64url(SHA-256(messageId)): the same on every server. */
  id: string;
  /** The encrypted pointer, which `fetch` follows. */
  messageId: string;
  expires: UnixTime;
}

export interface Page {
  messages: Listed[];
  /** What was read since the cursor, on any device. */
  read: string[];
  cursor: string;
  /** Whether another page is there now. */
  more: boolean;
  notices: string[];
}

/** The answer to a delivery: it is on disk. */
export interface Receipt {
  id: string;
  expires: UnixTime;
}

export interface InboxSettings {
  retention: number;
  accept: 'names' | 'anyone' | 'contacts' | 'nobody';
  contacts: number;
  blocked: number;
  names: number;
  unread: number;
  quota: { entries: number; bytes: number; bytes_used: number; read_entries?: number };
  /** How many Web Push subscriptions there are. */
  push?: number;
  notices: string[];
}

/** What `claim` may set; what is left out stays as it is. See docs/protocol.md, `PUT /v1/inbox`. */
export interface Claim {
  retention?: number;
  accept?: InboxSettings['accept'];
  contacts?: string[];
  blocked?: string[];
  names?: string[];
  invite?: string;
}

export interface Caller {
  fetch: Fetch;
  clock: () => UnixTime;
  key: AppKey;
  app: string;
}

export class Inbox {
  /** The server's origin: what its tokens are for. */
  readonly url: string;
  readonly #caller: Caller;
  /** By how much the server's clock is ahead of ours, once it has said so. */
  #ahead = 0;
  #isTimed = false;
  /** Until when not to ask, as the server wished: for the owner's requests, for streams, and for each recipient. */
  readonly #pauses = new Map<string, { until: UnixTime; problem: Refused }>();

  constructor(url: string, caller: Caller) {
    this.url = url;
    this.#caller = caller;
  }

  /** By the server's clock, as far as it has said that ours is wrong. */
  get time(): UnixTime {
    return this.#caller.clock() + this.#ahead;
  }

  /** Whether the server has taken one of our tokens, and so `time` is right as far as it matters here. */
  get isTimed(): boolean {
    return this.#isTimed;
  }

  async claim(claim: Claim): Promise<InboxSettings> {
    return (await this.#own('PUT', '/v1/inbox', 'settings', JSON.stringify(claim))) as unknown as InboxSettings;
  }

  async settings(): Promise<InboxSettings> {
    return (await this.#own('GET', '/v1/inbox', 'read')) as unknown as InboxSettings;
  }

  async forget(): Promise<void> {
    await this.#own('DELETE', '/v1/inbox', 'settings');
  }

  /** Repeating it with the same body is safe. */
  async deliver(body: string, sender: string, recipient: string): Promise<Receipt> {
    const token = (now: UnixTime) => {
      const { key, app } = this.#caller;
      return deliverToken(key, { sender, recipient, app, inbox: this.url, body, now });
    };
    const answer = await this.#ask(`to ${recipient}`, token, '/v1/messages', { method: 'POST', body });
    return { id: String(answer.id), expires: Number(answer.expires) };
  }

  /** With `waitSeconds`, held while nothing is in it. */
  async page(
    after: string | undefined,
    limit: number,
    { waitSeconds = 0, signal }: { waitSeconds?: number; signal?: AbortSignal } = {},
  ): Promise<Page> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (after !== undefined) query.set('after', after);
    if (waitSeconds > 0) query.set('wait', String(waitSeconds));
    const token = (now: UnixTime) => this.#ownerToken('read', '', now);
    const what = { seconds: waitSeconds + PAGE_SECONDS, ...(signal ? { signal } : {}) };
    return readPage(await this.#ask('owner', token, `/v1/messages?${query}`, what));
  }

  async acknowledge(ids: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += ACK_IDS) {
      await this.#own('POST', '/v1/messages/ack', 'ack', JSON.stringify({ ids: ids.slice(at, at + ACK_IDS) }));
    }
  }

  /** The head of a stream of events after a cursor; the body is the caller's to read. */
  events(after: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = after === undefined ? {} : { 'Last-Event-ID': after };
    const token = (now: UnixTime) => this.#ownerToken('read', '', now);
    return this.#send('events', token, '/v1/events', {
      headers: { ...headers, Accept: 'text/event-stream' },
      seconds: Number.POSITIVE_INFINITY,
      signal,
    });
  }

  #ownerToken(scope: Scope, body: string, now: UnixTime): string {
    const { key, app } = this.#caller;
    return ownerToken(key, { scope, app, inbox: this.url, body, now });
  }

  #own(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, scope: Scope, body?: string) {
    const token = (now: UnixTime) => this.#ownerToken(scope, body ?? '', now);
    return this.#ask('owner', token, path, body === undefined ? { method } : { method, body });
  }

  async #ask(pause: string, token: (now: UnixTime) => string, path: string, what: Request) {
    const response = await this.#send(pause, token, path, what);
    const body = await readBody(response, MAX_ANSWER_BYTES);
    try {
      return body.length === 0 ? {} : parseObject(fromUtf8(body));
    } catch {
      throw notTheProtocol(this.url, response.status);
    }
  }

  /** A token of this client's own making, signed anew for each try: no other token ever goes to an inbox. */
  async #send(pause: string, token: (now: UnixTime) => string, path: string, what: Request): Promise<Response> {
    this.#obey(pause);
    for (let corrected = false; ; corrected = true) {
      const headers = { ...what.headers, Authorization: `Bearer ${token(this.time)}`, 'Content-Type': 'application/json' };
      const response = await request(this.#caller.fetch, this.url + path, { ...what, headers });
      if (response.ok) {
        this.#isTimed = true;
        return response;
      }
      const problem = await readProblem(response, this.url);
      this.#isTimed ||= problem.code === 'no_inbox'; // which is said to good tokens alone
      if (problem.serverTime === undefined || corrected) {
        this.#remember(pause, problem);
        throw problem;
      }
      this.#ahead = problem.serverTime - this.#caller.clock();
    }
  }

  #obey(pause: string): void {
    const paused = this.#pauses.get(pause);
    if (!paused) return;
    const left = paused.until - this.#caller.clock();
    if (left > 0) throw new Refused(paused.problem.status, { ...paused.problem }, left);
    this.#pauses.delete(pause);
  }

  #remember(pause: string, problem: Refused): void {
    if (problem.retryAfterSeconds === undefined) return;
    if (this.#pauses.size >= MAX_PAUSES) this.#pauses.clear();
    this.#pauses.set(pause, { until: this.#caller.clock() + problem.retryAfterSeconds, problem });
  }
}

/** Throws `Unreachable` for what is no page. The IDs are reckoned here, for a server could give them wrong. */
export function readPage(document: Record<string, unknown>): Page {
  const { messages, read = [], cursor, more, notices = [] } = document;
  if (!Array.isArray(messages) || !isTexts(read) || !isTexts(notices) || typeof cursor !== 'string') {
    throw new Unreachable('The answer is not a page of the protocol.');
  }
  return { messages: messages.map(readListed), read, cursor, more: more === true, notices };
}

function readListed(listed: Record<string, unknown> | null): Listed {
  const messageId = listed?.message_id;
  if (typeof messageId !== 'string' || !Number.isSafeInteger(listed?.expires)) {
    throw new Unreachable('The answer is not a page of the protocol.');
  }
  return { id: toBase64Url(sha256(toUtf8(messageId))), messageId, expires: Number(listed?.expires) };
}

async function readProblem(response: Response, url: string): Promise<Refused> {
  const after = Number(response.headers.get('Retry-After') ?? Number.NaN);
  const retryAfterSeconds = Number.isFinite(after) && after >= 0 ? Math.ceil(after) : undefined;
  try {
    const problem = parseObject(fromUtf8(await readBody(response, MAX_ANSWER_BYTES)));
    if (typeof problem.code === 'string') return new Refused(response.status, problem, retryAfterSeconds);
  } catch (error) {
    if (error instanceof Unreachable) throw error;
  }
  throw notTheProtocol(url, response.status);
}

/** A proxy's own error page, for example. */
function notTheProtocol(url: string, status: number): Unreachable {
  return new Unreachable(`${hostOf(url)} answered ${status}, not as an inbox server does.`);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
