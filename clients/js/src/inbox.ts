/** One inbox server, as its clients call it. */
import { sha256 } from '@noble/hashes/sha2.js';

import { fromUtf8, toBase64Url, toUtf8 } from './bytes.js';
import { channelOf } from './channels.js';
import type { Channel, Dropped, MatrixRoom, Subscription, Webhook } from './channels.js';
import { hasFeature } from './check.js';
import { InboxError, Refused, Unreachable } from './errors.js';
import type { AppKey } from './keys.js';
import { notTheProtocol, readProblem, typeOf } from './problems.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch, Request } from './requests.js';
import { deliverToken, ownerToken, parseObject } from './tokens.js';
import type { Scope, UnixTime } from './tokens.js';
import type { Ticks } from './waits.js';

const MAX_ANSWER_BYTES = 8 << 20; // a page of 1,000 entries has less than 2 MB
const MAX_PAUSES = 1000;
const PAGE_SECONDS = 30;
const NO_CONTENT = 204;
const EVENTS = 'text/event-stream';
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
  /** 1 when a Matrix room is told, 0 when none is; only where the server has a bot. */
  matrix?: number;
  /** 1 when a webhook is told, 0 when none is; only with the feature `webhook`. */
  webhook?: number;
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
  ticks: Ticks;
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
  /** Until when the server asked us to wait: for the owner's requests, for streams, and for each recipient. */
  readonly #pauses = new Map<string, { until: number; problem: Refused }>();

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
    return this.#readSettings(await this.#own('PUT', '/v1/inbox', 'settings', JSON.stringify(claim)));
  }

  async settings(): Promise<InboxSettings> {
    return this.#readSettings(await this.#own('GET', '/v1/inbox', 'read'));
  }

  async forget(): Promise<void> {
    await this.#own('DELETE', '/v1/inbox', 'settings', undefined, NO_CONTENT);
  }

  /** What `PushSubscription.toJSON()` gives, where the same endpoint again replaces its keys; or a Matrix room or a webhook. */
  async subscribe(subscription: PushSubscriptionJSON | MatrixRoom | Webhook): Promise<void> {
    const channel = channelOf(subscription);
    if (channel !== 'push') await this.#require(channel);
    await this.#own('PUT', `/v1/inbox/${channel}`, 'settings', JSON.stringify(subscription), NO_CONTENT);
  }

  async subscriptions(channel: Channel): Promise<Subscription[]> {
    await this.#require(channel === 'push' ? 'push-list' : channel);
    const { subscriptions } = await this.#own('GET', `/v1/inbox/${channel}`, 'read');
    if (!Array.isArray(subscriptions)) throw notTheProtocol(this.url, 'without subscriptions');
    return subscriptions as Subscription[];
  }

  async unsubscribe(which: Dropped, channel: Channel): Promise<void> {
    if (channel !== 'push') await this.#require(channel);
    else if (which && 'id' in which) await this.#require('push-list');
    await this.#own('DELETE', `/v1/inbox/${channel}`, 'settings', which && JSON.stringify(which), NO_CONTENT);
  }

  /** Repeating it with the same body is safe. Only an answer with its `id` says that it is on disk. */
  async deliver(body: string, sender: string, recipient: string): Promise<Receipt> {
    const token = (now: UnixTime) => {
      const { key, app } = this.#caller;
      return deliverToken(key, { sender, recipient, app, inbox: this.url, body, now });
    };
    const { id, expires } = await this.#ask(`to ${recipient}`, token, '/v1/messages', { method: 'POST', body });
    if (id !== idOf(String(parseObject(body).message_id))) throw notTheProtocol(this.url, 'without the id of what was delivered');
    return { id: String(id), expires: Number(expires) };
  }

  /** With `waitSeconds`, the server holds the answer while it is empty. */
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
      const body = JSON.stringify({ ids: ids.slice(at, at + ACK_IDS) });
      await this.#own('POST', '/v1/messages/ack', 'ack', body, NO_CONTENT);
    }
  }

  /** The head of a stream of events after a cursor; the body is the caller's to read. */
  async events(after: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = after === undefined ? {} : { 'Last-Event-ID': after };
    const token = (now: UnixTime) => this.#ownerToken('read', '', now);
    const response = await this.#send('events', token, '/v1/events', {
      headers: { ...headers, Accept: EVENTS },
      seconds: Number.POSITIVE_INFINITY,
      signal,
    });
    if (typeOf(response) === EVENTS) return response;
    await response.body?.cancel();
    throw notTheProtocol(this.url, 'with something else than events');
  }

  async #require(feature: string): Promise<void> {
    if (await hasFeature(this.#caller.fetch, this.url, feature)) return;
    throw new InboxError(`${hostOf(this.url)} does not offer this: its software is older.`);
  }

  #readSettings(document: Record<string, unknown>): InboxSettings {
    if (typeof document.accept !== 'string') throw notTheProtocol(this.url, 'without settings');
    return document as unknown as InboxSettings;
  }

  #ownerToken(scope: Scope, body: string, now: UnixTime): string {
    const { key, app } = this.#caller;
    return ownerToken(key, { scope, app, inbox: this.url, body, now });
  }

  #own(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, scope: Scope, body?: string, expected?: number) {
    const token = (now: UnixTime) => this.#ownerToken(scope, body ?? '', now);
    return this.#ask('owner', token, path, body === undefined ? { method } : { method, body }, expected);
  }

  /** With `expected`, that status is the answer; without, a JSON object is. */
  async #ask(pause: string, token: (now: UnixTime) => string, path: string, what: Request, expected?: number) {
    const response = await this.#send(pause, token, path, what);
    const body = await readBody(response, MAX_ANSWER_BYTES);
    if (expected !== undefined && response.status !== expected) throw notTheProtocol(this.url, `with ${response.status}`);
    if (expected !== undefined) return {};
    try {
      return parseObject(fromUtf8(body));
    } catch {
      throw notTheProtocol(this.url, `with ${response.status}`);
    }
  }

  /** A token of this client's own making, signed anew for each try: no other token ever goes to an inbox. */
  async #send(pause: string, token: (now: UnixTime) => string, path: string, what: Request): Promise<Response> {
    this.#obey(pause);
    const corrected = new Set<string>();
    for (;;) {
      const headers = { ...what.headers, Authorization: `Bearer ${token(this.time)}`, 'Content-Type': 'application/json' };
      const response = await request(this.#caller.fetch, this.url + path, { ...what, headers });
      if (response.ok) {
        this.#isTimed = true;
        return response;
      }
      const problem = await readProblem(response, this.url, MAX_ANSWER_BYTES);
      this.#isTimed ||= problem.code === 'no_inbox'; // which is said to good tokens alone
      const isOfTime = problem.serverTime !== undefined || problem.code === 'ttl_passed';
      if (!isOfTime || corrected.has(problem.code)) {
        this.#remember(pause, problem);
        throw problem;
      }
      corrected.add(problem.code);
      const now = problem.serverTime ?? Date.parse(response.headers.get('Date') ?? '') / 1000;
      if (Number.isFinite(now)) this.#ahead = Math.floor(now) - this.#caller.clock();
    }
  }

  #obey(pause: string): void {
    const paused = this.#pauses.get(pause);
    if (!paused) return;
    const left = Math.ceil(paused.until - this.#caller.ticks());
    if (left > 0) throw new Refused(paused.problem.status, { ...paused.problem }, left);
    this.#pauses.delete(pause);
  }

  #remember(pause: string, problem: Refused): void {
    if (problem.retryAfterSeconds === undefined) return;
    if (this.#pauses.size >= MAX_PAUSES) this.#pauses.clear();
    this.#pauses.set(pause, { until: this.#caller.ticks() + problem.retryAfterSeconds, problem });
  }
}

/** Throws `Unreachable` for what is no page. The IDs are computed here, because a server could send wrong ones. */
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
  return { id: idOf(messageId), messageId, expires: Number(listed?.expires) };
}

function idOf(messageId: string): string {
  return toBase64Url(sha256(toUtf8(messageId)));
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
