/** One user of one app: the five steps of the protocol page, and what comes before and after them. */
import { Acks } from './acks.js';
import { Auditing } from './auditing.js';
import type { AuditReport } from './auditing.js';
import { Beginnings } from './beginnings.js';
import type { MoveStep } from './carrying.js';
import { channelOf } from './channels.js';
import { claim } from './claiming.js';
import type { Claimed } from './claiming.js';
import type { Channel, Dropped, MatrixRoom, Subscription, Webhook } from './channels.js';
import { Checkpoints } from './checkpoint.js';
import { ContactIndexes } from './contactindexes.js';
import { Contacts } from './contacts.js';
import type { Delivery, SendReport } from './delivery.js';
import type { Content } from './ecies.js';
import { Following } from './following.js';
import { Handoff } from './handoff.js';
import { Indexes } from './indexes.js';
import type { Inbox } from './inbox.js';
import { AppKey } from './keys.js';
import { Lapses } from './lapses.js';
import { LookUps } from './lookups.js';
import { Merging } from './merging.js';
import { Messages } from './messages.js';
import type { Message } from './messages.js';
import { Missed } from './missed.js';
import { unfinished } from './move.js';
import { Moving } from './moving.js';
import type { MoveOptions } from './moving.js';
import type { News } from './news.js';
import { readOptions } from './options.js';
import type { InboxClientOptions, Settled } from './options.js';
import { Own } from './own.js';
import type { Report } from './own.js';
import { OwnFile } from './ownfile.js';
import type { Published } from './owncard.js';
import type { Listed } from './pages.js';
import { PEOPLE } from './people.js';
import { Reading } from './reading.js';
import type { Unread } from './reading.js';
import { Recipients } from './recipients.js';
import { SeenCards } from './seen.js';
import { Sending } from './sending.js';
import type { SendOptions } from './sending.js';
import type { Claim, InboxSettings } from './settings.js';
import { Sheets } from './sheets.js';
import { State } from './state.js';
import { Tending } from './tending.js';
import { follow } from './watching.js';

export class InboxClient {
  readonly name: string | undefined;
  /** The user's app public key, 66 hex characters. */
  readonly publicKey: string;
  /** The address of the user's bucket. */
  readonly address: string;
  readonly #options: Settled;
  readonly #key: AppKey;
  readonly #state: State;
  readonly #messages: Messages;
  readonly #missed: Missed;
  readonly #indexes: Indexes;
  readonly #sending: Sending;
  readonly #acks: Acks;
  readonly #reading: Reading;
  readonly #auditing: Auditing;
  readonly #sheets: Sheets;
  readonly #own: Own;
  readonly #moving: Moving;
  /** Each makes a running `watch` check which inboxes to follow. */
  readonly #watches = new Set<() => void>();

  /** Sends no request. Throws `TypeError` or `NotAKey` for invalid options. */
  constructor(options: InboxClientOptions) {
    this.#options = readOptions(options);
    this.#key = AppKey.parse(options.privateKey);
    this.name = this.#options.name;
    this.publicKey = this.#key.public.hex;
    this.address = this.#key.public.address;
    const { app, ticks, fetch, names, agreement, random, storage } = this.#options;
    this.#state = new State(storage, `message-inbox:${this.address}:`);
    this.#acks = new Acks(this.#state);
    const bucket = () => this.#own.bucket();
    const checkpoints = new Checkpoints({ key: this.#key, fetch, random, bucket });
    const beginnings = new Beginnings(this.#state, checkpoints, this.#options);
    const contacts = new Contacts(this.#state);
    const server = (url: string) => this.#own.server(url);
    const file = new OwnFile({ key: this.#key, fetch, random, bucket }, PEOPLE);
    this.#sheets = new Sheets({ key: this.#key, state: this.#state, contacts, file, server, isOn: this.#options.sealed });
    this.#own = new Own(this.#key, this.#options, this.#state, options.inboxes, beginnings, this.#sheets);
    const { publicKey } = this;
    this.#moving = new Moving({ own: this.#own, state: this.#state, acks: this.#acks, options: this.#options, publicKey });
    const time = { clock: () => this.#own.now(), askTime: () => this.#own.askTime() };
    const lookUps = new LookUps({ app, fetch, names, agreement, ticks, ...time, prefixes: () => this.#own.prefixes() });
    const lapses = new Lapses(this.#state, time.clock, time.askTime);
    const recipients = new Recipients(lookUps, new SeenCards(this.#state), lapses);
    this.#missed = new Missed(ticks);
    const shared = { key: this.#key, state: this.#state, own: this.#own, contacts, acks: this.#acks, missed: this.#missed, fetch, random, bucket };
    this.#messages = new Messages({ ...shared, app, lookUps, lapses });
    this.#indexes = new Indexes(shared);
    const indexes = new ContactIndexes({ key: this.#key, lookUps, contacts, file });
    this.#reading = new Reading({ ...shared, indexes });
    this.#auditing = new Auditing({ ...shared, indexes, checkpoints, beginnings, address: this.address });
    const identity = this.name ?? publicKey;
    this.#sending = new Sending({ ...shared, identity, options: this.#options, recipients, indexes: this.#indexes });
  }

  // Before the first step: how others find this user.

  /**
   * Write the app public key and the signed inbox card into the bucket, over older ones. From now on these are read, and
   * senders deliver to them: `claim` them first.
   */
  publish(inboxes: readonly string[]): Promise<Published> {
    return this.#own.publish(inboxes);
  }

  /**
   * Claim every own inbox, or change its settings; or `inboxes`, which need not be on the card yet. A new one also gets the
   * settings that were last claimed here.
   */
  claim(settings: Claim = {}, { inboxes }: { inboxes?: readonly string[] } = {}): Promise<Claimed[]> {
    return claim({ own: this.#own, state: this.#state, sheets: this.#sheets }, settings, inboxes);
  }

  /**
   * Move the inbox to another server with everything in it: the steps, as they are done. Repeat it when it throws or was
   * left, also in another session: nothing is lost or doubled. Where nothing was published yet, it claims and publishes.
   * Throws `CannotMove`, and what its requests throw: `Refused`, `Unreachable`, `BucketFailed`.
   */
  async *move(to: string, options: MoveOptions = {}): AsyncGenerator<MoveStep> {
    for await (const step of this.#moving.move(to, options)) {
      if (step.kind === 'published') for (const look of this.#watches) look();
      yield step;
    }
  }

  /** A move that has begun and is not finished: repeat it with `move(to)`. */
  async unfinishedMove(): Promise<{ from: string; to: string } | undefined> {
    const move = await unfinished(this.#state);
    return move && { from: move.from, to: move.to };
  }

  /** The settings of every own inbox, and what its owner must know. */
  settings(): Promise<Report<InboxSettings>[]> {
    return this.#own.each((inbox) => inbox.settings());
  }

  /**
   * Withdraw the card, then delete every own inbox with everything in it. When it throws, nothing was deleted. Repeat it
   * when the report has a problem, to reach the inboxes that were down.
   */
  forget(): Promise<Report[]> {
    return this.#own.forget();
  }

  /**
   * Have one own inbox tell a browser by Web Push that something waits: `subscription` is what `PushSubscription.toJSON()`
   * gives, made with `capabilities.push.vapid_key` of `check`. Throws `Refused`, with what to do when there are too many.
   * Or have its Matrix bot say so in a room: `{ room }`, a direct chat with `capabilities.matrix.user_id`.
   * Or have it tell a URL of the owner's own: `{ url, authorization? }`.
   */
  subscribe(inbox: string, subscription: PushSubscriptionJSON | MatrixRoom | Webhook): Promise<void> {
    return this.#own.server(inbox).subscribe(subscription);
  }

  /** The subscriptions at every own inbox, where the server has the feature `push-list`; or the rooms or URLs, with `matrix` or `webhook`. */
  subscriptions(channel: Channel = 'push'): Promise<Report<Subscription[]>[]> {
    return this.#own.each((inbox) => inbox.subscriptions(channel));
  }

  /** Drop a subscription by its short `id`, its `endpoint`, its `room` or its `url`; with `undefined`, all of the channel. */
  unsubscribe(inbox: string, which: Dropped, channel: Channel = channelOf(which)): Promise<void> {
    return this.#own.server(inbox).unsubscribe(which, channel);
  }

  // Steps 1 and 2: the message into the own bucket, its encrypted ID to the recipient's inboxes.

  /**
   * `recipient` is a name, an app public key or an app address. It goes sealed where both have spoken and the recipient's card
   * offers that. Nothing was delivered when it throws: `TypeError` for what is no text, `NotProven`, `BadCard`,
   * `BucketFailed`, `Unreachable`. See `SendReport` for the rest.
   */
  send(recipient: string, content: Content, options: SendOptions = {}): Promise<SendReport> {
    return this.#sending.send(recipient, content, options);
  }

  /**
   * Let a delivery that waits because it cannot go sealed (`no_tickets`) be signed, and try it again: the server then learns
   * who wrote. `id` is the report's. Undefined where it does not wait any more.
   */
  sign(id: string): Promise<SendReport | undefined> {
    return this.#sending.sign(id);
  }

  /** Deliveries that some inbox of their recipient has not answered yet. */
  waiting(): Promise<Delivery[]> {
    return this.#sending.outbox.waiting();
  }

  /** Repeat deliveries and acknowledgements that are due; returns the deliveries' reports. `watch` does it by itself. */
  retry(): Promise<SendReport[]> {
    return this.#retry();
  }

  // Step 4: what is unread, from all own inboxes.

  /**
   * Entries merged by `id`, and the inboxes that could not be asked; `card` is why the own card cannot be read, where the
   * inboxes are those that it named before. When no inbox can be reached, what contacts' own buckets have, which
   * `withoutServer` says. Throws the problem when these cannot be read either.
   */
  unread(): Promise<Unread> {
    return this.#reading.unread();
  }

  // Whether a server hides anything.

  /**
   * Whether the own inboxes show everything that arrived: their logs are held against what was seen before and against the
   * receipts that contacts keep. What is missing is found in contacts' own buckets, and `fetched`. `watch` does it rarely.
   */
  audit(): Promise<AuditReport> {
    return this.#auditing.run();
  }

  /** The report of the last audit, without evidence; undefined before the first. */
  lastAudit(): Promise<AuditReport | undefined> {
    return this.#auditing.last();
  }

  // Step 5: decrypt, fetch and verify, acknowledge.

  /**
   * The message that an entry leads to. Its signer's key hashes to the address of the bucket that the sender's own
   * identity leads to, or it throws `NotAuthentic`; and `CannotDecrypt`, `NotProven`, `Absent` (removed by the sender),
   * `Unreachable`. Leave the entry unread when `isForNow` of the error says so: names, buckets and messages that are missing
   * for less than three days may be there again.
   */
  fetch(entry: Listed): Promise<Message> {
    return this.#messages.fetch(entry);
  }

  /** Tell every own inbox that these are read. `retry`, `unread` or `watch` tells those that cannot be reached now. */
  acknowledge(entries: readonly Pick<Listed, 'id'>[]): Promise<Report[]> {
    return this.#reading.acknowledge(entries.map(({ id }) => id));
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
    const shared = { acks: this.#acks, state: this.#state, merging, news, random, sleep, silenceSeconds, resume, isLeft, lost: () => tending.lost() };
    const following = new Following(this.#own, (inbox) => follow({ ...shared, inbox }, over), over);
    const retry = () => this.#tend(news, look);
    const tending = new Tending({ own: this.#own, options: this.#options, auditing: this.#auditing, reading: this.#reading, sheets: this.#sheets, missed: this.#missed, merging, news, retry });
    const look = () => void following.look().catch((error: unknown) => news.fail(error));
    try {
      await this.#own.inboxes({ fresh: true });
      const problem = this.#own.cardProblem;
      if (problem) void news.give({ kind: 'card', problem });
      this.#watches.add(look);
      tending.run(over).catch((error: unknown) => news.fail(error));
      for await (const each of news.items(over)) {
        tending.hear(each);
        yield each;
      }
    } finally {
      this.#watches.delete(look);
      left.abort();
    }
  }

  // What the steps are made of.

  async #retry(tell?: (report: SendReport) => unknown): Promise<SendReport[]> {
    const acks = async () => (await this.#acks.waiting()).size > 0 && this.#own.eachSource(async (inbox) => this.#acks.tell(inbox));
    const [reports] = await Promise.all([this.#sending.outbox.retry(tell), acks(), this.#indexes.flush()]);
    return reports;
  }

  /** Also sees changes by other pages with this storage: after a move there, the new inbox is followed. */
  async #tend(news: Handoff<News>, look: () => void): Promise<void> {
    look();
    await this.#retry(async (report) => {
      if (report.stored.length + report.refused.length > 0) await news.give({ kind: 'sent', report });
    });
  }
}
