/** One inbox server, as its clients call it. */
import { fromUtf8, toBase64Url } from './bytes.js';
import { channelOf } from './channels.js';
import type { Channel, Dropped, MatrixRoom, Subscription, Webhook } from './channels.js';
import type { Beginnings, Made } from './beginnings.js';
import { capabilitiesOf } from './check.js';
import type { Capabilities } from './check.js';
import type { Addressed, Receipt, Requested } from './delivery.js';
import { InboxError, Refused } from './errors.js';
import type { AppKey } from './keys.js';
import { readLogPage } from './log.js';
import type { LogPage } from './log.js';
import { idOf, readPage } from './pages.js';
import type { Page } from './pages.js';
import { Pauses } from './pauses.js';
import { notTheProtocol, readProblem, typeOf } from './problems.js';
import { BadReceipt, verifyReceipt } from './receipts.js';
import type { SignedReceipt } from './receipts.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch, Request } from './requests.js';
import type { Claim, InboxSettings } from './settings.js';
import { deliverToken, ownerToken, parseObject } from './tokens.js';
import type { Scope, UnixTime } from './tokens.js';
import type { Ticks } from './waits.js';

const MAX_ANSWER_BYTES = 8 << 20; // a page of 1,000 entries has less than 2 MB
const PAGE_SECONDS = 30;
const CAPABILITIES_SECONDS = 300;
const [CREATED, NO_CONTENT] = [201, 204];
const EVENTS = 'text/event-stream';
const LOG_ENTRIES = 1000; // as many as a server gives at once
const ACK_IDS = 1000; // the most that a server takes at once

export interface Caller {
  fetch: Fetch;
  clock: () => UnixTime;
  ticks: Ticks;
  key: AppKey;
  app: string;
  /** Told when an inbox of the owner is made or deleted. */
  beginnings?: Pick<Beginnings, 'note' | 'begin' | 'end'>;
}

export class Inbox {
  /** The server's origin: what its tokens are for. */
  readonly url: string;
  readonly #caller: Caller;
  /** By how much the server's clock is ahead of ours, once it has said so. */
  #ahead = 0;
  #isTimed = false;
  /** The same by the `Date` of its last answer, whoever answered: enough to tell weeks apart. */
  #stated: number | undefined;
  #says: { since: number; document: Capabilities } | undefined;
  /** Until when the server asked us to wait: for the owner's requests, for streams, and for each recipient. */
  readonly #pauses: Pauses;

  constructor(url: string, caller: Caller) {
    this.url = url;
    this.#caller = caller;
    this.#pauses = new Pauses(caller.ticks);
  }

  /** By the server's clock, as far as it has said that ours is wrong. */
  get time(): UnixTime {
    return this.#caller.clock() + this.#ahead;
  }

  /** By the `Date` header of the last answer; undefined before that. */
  get stated(): UnixTime | undefined {
    return this.#stated === undefined ? undefined : this.#caller.clock() + this.#stated;
  }

  /** Whether the server has taken one of our tokens, and so `time` is right as far as it matters here. */
  get isTimed(): boolean {
    return this.#isTimed;
  }

  /** With `ifNew` beneath, where there is no inbox yet. `made` says whether it made one. */
  async claim(claim: Claim, ifNew: Claim = {}): Promise<{ settings: InboxSettings; made: Made | undefined }> {
    const { beginnings } = this.#caller;
    const isNew = !(await this.shown());
    if (isNew) await beginnings?.note(this); // before: the answer may be lost
    const body = JSON.stringify(isNew ? { ...ifNew, ...claim } : claim);
    const token = (now: UnixTime) => this.#ownerToken('settings', body, now);
    const response = await this.#send('owner', token, '/v1/inbox', { method: 'PUT', body });
    const settings = this.#readSettings(await this.#readObject(response));
    return { settings, made: response.status === CREATED ? await beginnings?.begin(this) : undefined };
  }

  /** The settings; undefined when there is no such inbox (any more). */
  async shown(): Promise<InboxSettings | undefined> {
    try {
      return await this.settings();
    } catch (error) {
      if (error instanceof Refused && error.code === 'no_inbox') return undefined;
      throw error;
    }
  }

  async settings(): Promise<InboxSettings> {
    return this.#readSettings(await this.#own('GET', '/v1/inbox', 'read'));
  }

  async forget(): Promise<void> {
    await this.#caller.beginnings?.end(this);
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
  async deliver(body: string, { sender, recipient, receipt }: Addressed): Promise<Receipt> {
    const sent = receipt ? JSON.stringify({ ...parseObject(body), receipt: true }) : body;
    const token = (now: UnixTime) => {
      const { key, app } = this.#caller;
      return deliverToken(key, { sender, recipient, app, inbox: this.url, body: sent, now });
    };
    const answer = await this.#ask(`to ${recipient}`, token, '/v1/messages', { method: 'POST', body: sent });
    return this.#receiptFrom(answer, body, receipt);
  }

  #receiptFrom(answer: Record<string, unknown>, body: string, receipt: Requested['receipt']): Receipt {
    const members = parseObject(body);
    const [id, expires] = [String(answer.id), Number(answer.expires)];
    if (id !== idOf(String(members.message_id))) throw notTheProtocol(this.url, 'without the id of what was delivered');
    if (!receipt) return { id, expires };
    try {
      verifyReceipt(answer.receipt, { ...receipt, inbox: this.url, id, expires });
      return { id, expires, signed: answer.receipt as SignedReceipt };
    } catch (error) {
      if (!(error instanceof BadReceipt)) throw error;
      return { id, expires, unsigned: error.message };
    }
  }

  /** With a ticket: nothing in the request says who sends it. Repeating it with the same body is safe. */
  async deliverSealed(body: string, ticket: Uint8Array, { recipient, receipt }: Requested): Promise<Receipt> {
    const sent = receipt ? JSON.stringify({ ...parseObject(body), receipt: true }) : body;
    const response = await this.#try(`to ${recipient}`, `InboxTicket ${toBase64Url(ticket)}`, '/v1/messages', { method: 'POST', body: sent });
    return this.#receiptFrom(await this.#readObject(response), body, receipt);
  }

  /** The owner's tickets for a week: the joined ids in base64url. */
  async keepSheet(week: number, ids: string): Promise<void> {
    await this.#own('PUT', '/v1/inbox/tickets', 'settings', JSON.stringify({ week, ids }), NO_CONTENT);
  }

  /** One answer of the log after a number, which the server signs together with `nonce`, 22 characters. */
  async log(after: number | undefined, nonce: string): Promise<LogPage> {
    const query = new URLSearchParams({ limit: String(LOG_ENTRIES), nonce });
    if (after !== undefined) query.set('after', String(after));
    return readLogPage(await this.#own('GET', `/v1/inbox/log?${query}`, 'read'));
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
    const pause = waitSeconds > 0 ? 'events' : 'owner'; // where no place is for a reader who waits, lists need none
    return readPage(await this.#ask(pause, token, `/v1/messages?${query}`, what));
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

  /** At most five minutes old, unless `fresh`. Throws `Unreachable`. */
  async capabilities({ fresh = false } = {}): Promise<Capabilities> {
    const now = this.#caller.ticks();
    if (fresh || !this.#says || now - this.#says.since >= CAPABILITIES_SECONDS) {
      this.#says = { since: now, document: await capabilitiesOf(this.#caller.fetch, this.url) };
    }
    return this.#says.document;
  }

  /** Throws `Unreachable`. */
  async hasFeature(feature: string): Promise<boolean> {
    return (await this.capabilities()).features?.includes(feature) ?? false;
  }

  async #require(feature: string): Promise<void> {
    if (await this.hasFeature(feature)) return;
    throw new InboxError(`${hostOf(this.url)} does not offer this: its operator has not set it up, or its software is older.`);
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
    if (expected === undefined) return this.#readObject(response);
    await readBody(response, MAX_ANSWER_BYTES);
    if (response.status !== expected) throw notTheProtocol(this.url, `with ${response.status}`);
    return {};
  }

  async #readObject(response: Response): Promise<Record<string, unknown>> {
    const body = await readBody(response, MAX_ANSWER_BYTES);
    try {
      return parseObject(fromUtf8(body));
    } catch {
      throw notTheProtocol(this.url, `with ${response.status}`);
    }
  }

  /** A token of this client's own making, signed anew for each try: no other token ever goes to an inbox. */
  async #send(pause: string, token: (now: UnixTime) => string, path: string, what: Request): Promise<Response> {
    const corrected = new Set<string>();
    for (;;) {
      try {
        const response = await this.#try(pause, `Bearer ${token(this.time)}`, path, what);
        this.#isTimed = true;
        return response;
      } catch (problem) {
        if (!(problem instanceof Refused)) throw problem;
        this.#isTimed ||= problem.code === 'no_inbox'; // which is said to good tokens alone
        const isOfTime = problem.serverTime !== undefined || problem.code === 'ttl_passed';
        if (!isOfTime || corrected.has(problem.code)) throw problem;
        corrected.add(problem.code);
        const now = problem.serverTime ?? this.stated;
        if (now !== undefined) this.#ahead = now - this.#caller.clock();
      }
    }
  }

  async #try(pause: string, authorization: string, path: string, what: Request): Promise<Response> {
    this.#pauses.obey(pause);
    const headers = { ...what.headers, Authorization: authorization, 'Content-Type': 'application/json' };
    const response = await request(this.#caller.fetch, this.url + path, { ...what, headers });
    const now = Date.parse(response.headers.get('Date') ?? '') / 1000;
    if (Number.isFinite(now)) this.#stated = Math.floor(now) - this.#caller.clock();
    if (response.ok) return response;
    const problem = await readProblem(response, this.url, MAX_ANSWER_BYTES);
    this.#pauses.remember(pause, problem);
    throw problem;
  }
}
