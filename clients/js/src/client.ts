/** One user of one app: the five steps of the protocol page, and what comes before and after them. */
import { Acks } from './acks.js';
import { toHex } from './bytes.js';
import { decrypt, encrypt, openEnvelope, signEnvelope } from './ecies.js';
import type { Content } from './ecies.js';
import { Absent, BadCard, NotAuthentic } from './errors.js';
import { Handoff } from './handoff.js';
import { parseIdentity } from './identities.js';
import type { Claim, Inbox, InboxSettings, Listed } from './inbox.js';
import { AppKey } from './keys.js';
import { LookUps, preferring } from './lookups.js';
import type { Bucket } from './lookups.js';
import { Merging } from './merging.js';
import type { Entry, News } from './news.js';
import { readOptions } from './options.js';
import type { InboxClientOptions, Settled } from './options.js';
import { Outbox } from './outbox.js';
import type { Delivery, SendReport } from './outbox.js';
import { Own } from './own.js';
import type { Report } from './own.js';
import { makeMessageId, readMessageId } from './pointer.js';
import { SeenCards } from './seen.js';
import { State } from './state.js';
import { follow } from './watching.js';

const MAX_MESSAGE_BYTES = 20 << 20; // what a hub stores
const PAGE_ENTRIES = 1000;
const RETRY_SECONDS = 30;

/** A verified message. A sender who repeats one has the same `from` and `id`: drop the second by both. */
export interface Message {
  id: string;
  from: string;
  content: Content;
  entry: Listed;
}

export class InboxClient {
  readonly name: string | undefined;
  /** The own app public key, 66 hex characters. */
  readonly publicKey: string;
  /** The address of the own bucket. */
  readonly address: string;
  readonly #options: Settled;
  readonly #key: AppKey;
  readonly #state: State;
  readonly #lookUps: LookUps;
  readonly #outbox: Outbox;
  readonly #acks: Acks;
  readonly #own: Own;
  readonly #seen: SeenCards;

  /** Asks nobody anything. Throws `TypeError` or `NotAKey` for options that cannot be. */
  constructor(options: InboxClientOptions) {
    this.#options = readOptions(options);
    this.#key = AppKey.parse(options.privateKey);
    this.name = this.#options.name;
    this.publicKey = this.#key.public.hex;
    this.address = this.#key.public.address;
    const { app, clock, fetch, names, agreement, random, storage } = this.#options;
    this.#state = new State(storage, `message-inbox:${this.address}:`);
    this.#acks = new Acks(this.#state);
    this.#seen = new SeenCards(this.#state);
    this.#own = new Own(this.#key, this.#options, this.#state, options.inboxes);
    this.#lookUps = new LookUps({
      ...{ app, fetch, names, agreement },
      clock: () => this.#own.now(),
      askTime: () => this.#own.askTime(),
      prefixes: () => this.#own.prefixes(),
    });
    this.#outbox = new Outbox({
      state: this.#state,
      clock,
      random,
      deliver: (inbox, body, recipient) => this.#own.server(inbox).deliver(body, this.#identity, recipient),
      inboxesOf: async (recipient) => (await this.#lookUp(recipient, { fresh: true })).inboxes,
    });
  }

  // Before the first step: how others find this user.

  /**
   * Write the app public key and the signed inbox card into the bucket, over older ones. From now on these are read, and
   * senders deliver to them: `claim` them first.
   */
  publish(inboxes: readonly string[]): Promise<{ seq: number; inboxes: string[] }> {
    return this.#own.publish(inboxes);
  }

  /** Claim every own inbox, or change its settings; or `inboxes`, which need not be on the card yet. */
  claim(settings: Claim = {}, { inboxes }: { inboxes?: readonly string[] } = {}): Promise<Report<InboxSettings>[]> {
    return this.#own.each((inbox) => inbox.claim(settings), inboxes);
  }

  /** The settings of every own inbox, and what its owner must know. */
  settings(): Promise<Report<InboxSettings>[]> {
    return this.#own.each((inbox) => inbox.settings());
  }

  /**
   * Withdraw the card, and give every own inbox up, with everything in it. Nothing is given up when it throws. Repeat it
   * when the report has a problem: an inbox that could not be told is told then.
   */
  forget(): Promise<Report[]> {
    return this.#own.forget();
  }

  // Steps 1 and 2: the message into the own bucket, its encrypted ID to the recipient's inboxes.

  /**
   * `recipient` is a name, an app public key or an app address; `ttlSeconds` how long it matters, if not long. Nothing
   * was delivered when it throws: `NotProven`, `BadCard`, `BucketFailed`, `Unreachable`. See `SendReport` for the rest.
   */
  async send(recipient: string, content: Content, { ttlSeconds }: { ttlSeconds?: number } = {}): Promise<SendReport> {
    const { key, inboxes } = await this.#lookUp(recipient);
    const { random, app } = this.#options;
    const id = toHex(random(16));
    const message = signEnvelope(this.#key, encrypt(key, content, random));
    const bucket = await this.#own.bucket();
    await bucket.write(`outbox/${id}.json`, message);
    const place = this.name === undefined ? { url: bucket.url } : {};
    const messageId = makeMessageId({ id, from: this.#identity, app, ...place }, key, random);
    const body = JSON.stringify({ message_id: messageId, ...(ttlSeconds === undefined ? {} : { ttl: ttlSeconds }) });
    return this.#outbox.send(id, recipient, body, inboxes);
  }

  /** Deliveries that some inbox of their recipient has not answered yet. */
  waiting(): Promise<Delivery[]> {
    return this.#outbox.waiting();
  }

  /** Repeat what waits and is due: deliveries, whose reports it gives, and acknowledgements. `watch` does it by itself. */
  async retry(): Promise<SendReport[]> {
    const { size } = await this.#acks.waiting();
    if (size > 0) await this.#own.each(async (inbox) => this.#acks.tell(inbox));
    return this.#outbox.retry();
  }

  // Step 4: what is unread, from all own inboxes.

  /** Entries merged by `id`, and the inboxes that could not be asked. Throws the problem when none could. */
  async unread(): Promise<{ entries: Entry[]; problems: Report[] }> {
    const reports = await this.#own.each(async (inbox) => {
      await this.#acks.tell(inbox);
      return this.#list(inbox);
    });
    const read = await this.#acks.waiting();
    const entries = new Map<string, Entry>();
    for (const { inbox, result = [] } of reports) {
      for (const listed of result.filter(({ id }) => !read.has(id))) {
        const inboxes = [...(entries.get(listed.id)?.inboxes ?? []), inbox];
        entries.set(listed.id, { ...listed, inboxes });
      }
    }
    const problems = reports.flatMap(({ inbox, problem }) => (problem ? [{ inbox, problem }] : []));
    if (problems[0] && problems.length === reports.length) throw problems[0].problem;
    return { entries: [...entries.values()], problems };
  }

  // Step 5: decrypt, fetch and verify, acknowledge.

  /**
   * The message that an entry leads to. Its signer's key hashes to the address of the bucket that the sender's own
   * identity leads to, or it throws `NotAuthentic`; and `CannotDecrypt`, `NotProven`, `Absent` (removed by the sender),
   * `Unreachable`.
   */
  async fetch(entry: Listed): Promise<Message> {
    const { id, from, app, url } = readMessageId(entry.messageId, this.#key);
    if (app !== this.#options.app) throw new NotAuthentic('The message is of another app.');
    let bucket = preferring(await this.#lookUps.bucket(from), url);
    let text = await this.#readMessage(bucket, id);
    if (text === undefined || openEnvelope(text).signer.address !== bucket.address) {
      bucket = preferring(await this.#lookUps.bucket(from, { fresh: true }), url); // the sender may have another key since
      text = await this.#readMessage(bucket, id);
    }
    if (text === undefined) throw new Absent('The message is not in the bucket of its sender.');
    const { signer, encrypted } = openEnvelope(text);
    if (signer.address !== bucket.address) {
      throw new NotAuthentic("The message is not signed by the key of the sender's bucket.");
    }
    return { id, from, content: decrypt(this.#key, encrypted), entry };
  }

  /** Say that these are read, to every own inbox; one that cannot be told now is told by `retry`, `unread` or `watch`. */
  async acknowledge(entries: readonly Pick<Listed, 'id'>[]): Promise<Report[]> {
    const ids = entries.map(({ id }) => id);
    return this.#own.each(async (inbox) => {
      await this.#acks.remember([inbox], ids);
      const problem = await this.#acks.tell(inbox);
      if (problem) throw problem;
    });
  }

  // And then: wait for news.

  /**
   * Everything unread, and then whatever happens at the own inboxes, until `signal` aborts or the loop is left. It
   * reconnects, catches up, and repeats what waits by itself. With `resume` it begins where the last `watch` of this
   * storage ended: for apps that keep entries of their own.
   */
  async *watch({ signal, resume = false }: { signal?: AbortSignal; resume?: boolean } = {}): AsyncGenerator<News> {
    const { random, sleep, silenceSeconds } = this.#options;
    const left = new AbortController();
    const over = signal ? AbortSignal.any([signal, left.signal]) : left.signal;
    const [merging, news] = [new Merging(), new Handoff<News>()];
    const isLeft = (inbox: Inbox) => this.#own.isLeft(inbox);
    const shared = { acks: this.#acks, state: this.#state, merging, news, random, sleep, silenceSeconds, resume, isLeft };
    const followed = new Set<Inbox>();
    const followEach = async (inbox: Inbox): Promise<void> => {
      if (followed.has(inbox)) return;
      followed.add(inbox);
      await follow({ ...shared, inbox }, over);
      followed.delete(inbox);
      if (!over.aborted) await Promise.all((await this.#own.inboxes()).map(followEach)); // it was left for others
    };
    try {
      const all = Promise.all((await this.#own.inboxes({ fresh: true })).map(followEach));
      Promise.all([all, this.#keepRetrying(news, over)]).catch((error: unknown) => news.fail(error));
      yield* news.items(over);
    } finally {
      left.abort();
    }
  }

  // What the steps are made of.

  async #keepRetrying(news: Handoff<News>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const report of await this.retry()) {
        if (report.stored.length + report.refused.length > 0) await news.give({ kind: 'sent', report });
      }
      await this.#options.sleep(RETRY_SECONDS * 1000, signal);
    }
  }

  /** Who this user is to others: the name, or the key itself. */
  get #identity(): string {
    return this.name ?? this.publicKey;
  }

  /** A recipient's key and inboxes, both checked against the address of the bucket. */
  async #lookUp(recipient: string, { fresh = false } = {}) {
    parseIdentity(recipient);
    const bucket = await this.#lookUps.bucket(recipient, { fresh });
    const [key, card] = await Promise.all([this.#lookUps.key(bucket), this.#lookUps.card(bucket)]);
    if (card.seq < (await this.#seen.highest(bucket.address))) {
      throw new BadCard('The inbox card is older than one seen before: its host shows an old copy.');
    }
    await this.#seen.see(bucket.address, card.seq);
    return { key, inboxes: card.inboxes };
  }

  async #readMessage(bucket: Bucket, id: string): Promise<string | undefined> {
    try {
      return await this.#lookUps.read(bucket, `outbox/${id}.json`, MAX_MESSAGE_BYTES * 3); // hex, and JSON around it
    } catch (error) {
      if (error instanceof Absent) return undefined;
      throw error;
    }
  }

  async #list(inbox: Inbox): Promise<Listed[]> {
    const listed = new Map<string, Listed>();
    let page = await inbox.page(undefined, PAGE_ENTRIES);
    for (; ; page = await inbox.page(page.cursor, PAGE_ENTRIES)) {
      for (const each of page.messages) listed.set(each.id, each);
      for (const id of page.read) listed.delete(id);
      if (!page.more) return [...listed.values()];
    }
  }
}
