/** What is the user's own: the bucket, the card in it, and the inboxes that the card names. */
import type { Beginnings } from './beginnings.js';
import { OwnBucket } from './bucket.js';
import { MAX_INBOXES } from './card.js';
import { Absent, BadCard, BucketFailed, InboxError, Refused } from './errors.js';
import { isOrigin } from './identities.js';
import { Inbox } from './inbox.js';
import type { AppKey } from './keys.js';
import { KEY_FILES } from './keyfile.js';
import { noteMove, unfinished } from './move.js';
import type { Settled } from './options.js';
import { OwnCard } from './owncard.js';
import type { Published } from './owncard.js';
import { SeenCards } from './seen.js';
import type { Sheets } from './sheets.js';
import type { State } from './state.js';
import type { UnixTime } from './tokens.js';

/** What one of the own inboxes answered: a result, or why there is none. */
export interface Report<Result = void> {
  inbox: string;
  result?: Result;
  problem?: InboxError;
}

export class Own {
  readonly #key: AppKey;
  readonly #options: Settled;
  readonly #state: State;
  readonly #seen: SeenCards;
  readonly #card: OwnCard;
  readonly #beginnings: Beginnings;
  readonly #servers = new Map<string, Inbox>();
  /** Why the own card could not be read when it was last looked at. */
  cardProblem: InboxError | undefined;
  #opening: Promise<OwnBucket> | undefined;
  #named: string[] | undefined;
  /** Whether the app named them, and not the card. */
  #isChosen: boolean;
  /** Whose word on the time is taken, once they have given it: that of servers which the user chose. */
  readonly #asked = new Set<string>();

  /** `inboxes` are those that the app named; without, they are those of the card. Throws `TypeError`. */
  constructor(key: AppKey, options: Settled, state: State, inboxes: readonly string[] | undefined, beginnings: Beginnings, sheets: Sheets) {
    this.#key = key;
    this.#options = options;
    this.#state = state;
    this.#seen = new SeenCards(state);
    this.#beginnings = beginnings;
    this.#card = new OwnCard(key, options, state, this.#seen, sheets);
    this.#named = inboxes && checkInboxes(inboxes);
    this.#isChosen = inboxes !== undefined;
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  bucket(): Promise<OwnBucket> {
    const { fetch, hub, random, sleep, associationToken } = this.#options;
    if (hub === undefined) return Promise.reject(new BucketFailed('No hub is configured to write to.', { isForNow: false }));
    if (!this.#opening) {
      const time = { clock: () => this.now(), askTime: () => this.askTime() };
      this.#opening = OwnBucket.open({ fetch, hub, random, sleep, associationToken, key: this.#key, ...time });
      this.#opening.catch(() => (this.#opening = undefined)); // the next call tries again
    }
    return this.#opening;
  }

  /** Where buckets of people without names are looked for. */
  async prefixes(): Promise<string[]> {
    const { hub, prefixes } = this.#options;
    return hub === undefined ? prefixes : [...new Set([(await this.bucket()).readPrefix, ...prefixes])];
  }

  /** With `isFirst` not over a card that names others. Throws `BucketFailed`, `Unreachable` or `BadCard`. */
  async publish(inboxes: readonly string[], isFirst = false): Promise<Published> {
    const named = checkInboxes(inboxes);
    const bucket = await this.bucket();
    const { address, hex } = this.#key.public;
    const now = (await this.#timeAt(named)) ?? this.#options.clock();
    await bucket.write(KEY_FILES[0], JSON.stringify(hex));
    const card = await this.#card.write(bucket, named, now, isFirst);
    await this.#seen.see(address, card.seq);
    await this.#remember(named);
    this.#named = named;
    return card;
  }

  /** See `OwnCard.reseal`. A move publishes by itself. */
  async reseal(sendAll: boolean): Promise<void> {
    if (this.#options.hub === undefined || (await unfinished(this.#state))) return;
    const card = await this.#card.reseal(await this.bucket(), this.now(), sendAll);
    if (card) await this.#seen.see(this.#key.public.address, card.seq);
  }

  /** Publish the card again where that is due. A move publishes by itself. Throws `BucketFailed` or `Unreachable`. */
  async renew(): Promise<Published | undefined> {
    if (this.#options.hub === undefined || (await unfinished(this.#state))) return undefined;
    const now = await this.askTime();
    const card = now === undefined ? undefined : await this.#card.dueForRenewal(await this.bucket(), now);
    if (!card) return undefined;
    const named = this.#named;
    const published = await this.publish(card.inboxes);
    if (this.#isChosen) this.#named = named;
    return published;
  }

  /** Withdraws the card first, so that nobody delivers to a deleted inbox. Repeat it to reach inboxes that were down. */
  async forget(): Promise<Report[]> {
    const { leaving: before = [] } = await this.#state.read<string[]>('own');
    const move = await unfinished(this.#state);
    const leaving = [...new Set([...before, ...(await this.#listed()), ...(move ? [move.from] : [])])];
    if (leaving.length === 0) throw new BadCard('You have no inbox to give up.', { isNone: true });
    await this.#leave(leaving);
    await this.#withdraw(leaving);
    await noteMove(this.#state, undefined);
    const reports = await this.each((inbox) => inbox.forget(), leaving);
    await this.#leave(reports.flatMap(({ inbox, problem }) => (problem && !isNoInbox(problem) ? [inbox] : [])));
    return reports;
  }

  /**
   * As the app named them, or as the own card says, for another device may have changed it; or else as it last said.
   * Throws `BadCard` where there is none yet, `BucketFailed` or `Unreachable`.
   */
  async inboxes({ fresh = false } = {}): Promise<Inbox[]> {
    if (this.#named === undefined || (fresh && !this.#isChosen)) this.#named = await this.#ofCard();
    else if (!this.#isChosen) this.#named = (await this.#state.read<string[]>('own')).inboxes ?? this.#named; // another page's
    for (const url of this.#named) this.#asked.add(url);
    return this.#named.map((url) => this.server(url));
  }

  /** Those to read from: also one that is being moved away from, until it is empty. Throws as `inboxes`. */
  async sources(): Promise<Inbox[]> {
    const move = await unfinished(this.#state);
    const moving = move ? [move.from, ...(move.isPublished ? [move.to] : [])] : [];
    return [...new Set([...(await this.inboxes()), ...moving.map((url) => this.server(url))])];
  }

  /** The receipt keys of a server, newest first. Throws `Unreachable`. */
  receiptKeys(inbox: string): Promise<string[]> {
    return this.#card.receiptKeys(inbox);
  }

  /** The time by this device's clock, right or wrong. */
  here(): UnixTime {
    return this.#options.clock();
  }

  /** The time, by an own inbox if one has told it. */
  now(): UnixTime {
    return this.#timed([...this.#asked]) ?? this.#options.clock();
  }

  /** The time of an own inbox, asked if need be; undefined where there is none, or none answers. */
  async askTime(): Promise<UnixTime | undefined> {
    try {
      return await this.#timeAt((await this.inboxes()).map(({ url }) => url));
    } catch (error) {
      if (error instanceof InboxError) return undefined;
      throw error;
    }
  }

  /** Whether the card, read anew, names other inboxes instead: another device may have moved. */
  async isLeft({ url }: Inbox): Promise<boolean> {
    try {
      return !(await this.inboxes({ fresh: true })).some((inbox) => inbox.url === url);
    } catch (error) {
      if (error instanceof InboxError) return false;
      throw error;
    }
  }

  server(url: string): Inbox {
    const { fetch, clock, ticks, app } = this.#options;
    const server = this.#servers.get(url) ?? new Inbox(url, { fetch, clock, ticks, key: this.#key, app, beginnings: this.#beginnings });
    this.#servers.set(url, server);
    return server;
  }

  /** Ask every own inbox, or these, at once. Where one is gone, another device may have moved: the card says where to. */
  async each<Result>(ask: (inbox: Inbox) => Promise<Result>, urls?: readonly string[]): Promise<Report<Result>[]> {
    if (urls) return this.#askAll(ask, checkInboxes(urls, urls.length));
    return this.#follow(ask, () => this.inboxes());
  }

  /** Ask every inbox that is read from. One that a move has deleted, and was cut off then, is none. */
  async eachSource<Result>(ask: (inbox: Inbox) => Promise<Result>): Promise<Report<Result>[]> {
    const reports = await this.#follow(ask, () => this.sources());
    const move = await unfinished(this.#state);
    return reports.filter(({ inbox, problem }) => !(inbox === move?.from && isNoInbox(problem)));
  }

  async #follow<Result>(ask: (inbox: Inbox) => Promise<Result>, list: () => Promise<Inbox[]>): Promise<Report<Result>[]> {
    const before = (await list()).map(({ url }) => url);
    const reports = await this.#askAll(ask, before);
    if (this.#isChosen || !reports.some(({ problem }) => isNoInbox(problem))) return reports;
    await this.inboxes({ fresh: true });
    const now = (await list()).map(({ url }) => url);
    return now.join() === before.join() ? reports : this.#askAll(ask, now);
  }

  async #askAll<Result>(ask: (inbox: Inbox) => Promise<Result>, urls: readonly string[]): Promise<Report<Result>[]> {
    for (const url of urls) this.#asked.add(url);
    return Promise.all(
      urls.map((url) => this.server(url)).map(async (inbox) => {
        try {
          return { inbox: inbox.url, result: await ask(inbox) };
        } catch (problem) {
          if (!(problem instanceof InboxError)) throw problem;
          return { inbox: inbox.url, problem };
        }
      }),
    );
  }

  async #timeAt(urls: readonly string[]): Promise<UnixTime | undefined> {
    if (this.#timed(urls) === undefined) await this.each((inbox) => inbox.settings(), urls); // any token is told the time
    return this.#timed(urls);
  }

  #timed(urls: readonly string[]): UnixTime | undefined {
    return urls.map((url) => this.server(url)).find(({ isTimed }) => isTimed)?.time;
  }

  /** The inboxes to give up: those that the app named, or those on the card. */
  async #listed(): Promise<string[]> {
    try {
      return (await this.inboxes({ fresh: true })).map(({ url }) => url);
    } catch (error) {
      if (error instanceof BadCard) return []; // withdrawn, but perhaps not every inbox was told
      throw error;
    }
  }

  async #withdraw(leaving: readonly string[]): Promise<void> {
    const bucket = await this.bucket();
    const left = ((await this.#card.find(bucket))?.inboxes ?? []).filter((inbox) => !leaving.includes(inbox));
    if (left.length > 0) {
      await this.publish(left);
    } else {
      await this.#card.withdraw(bucket);
      await this.#state.change<string[]>('own', (own) => {
        delete own.inboxes;
      });
      this.#named = undefined;
    }
    this.#isChosen = false;
  }

  #leave(inboxes: string[]): Promise<boolean> {
    return this.#state.change<string[]>('own', (own) => {
      if (inboxes.length > 0) own.leaving = inboxes;
      else delete own.leaving;
    });
  }

  /**
   * Those of the card, unless it is an older one than was seen before: what a host shows just after a change. Where it
   * cannot be read, or is said not to be there, those that it named last; only a card that was withdrawn names none.
   */
  async #ofCard(): Promise<string[]> {
    const last = (await this.#state.read<string[]>('own')).inboxes;
    try {
      const card = await this.#card.read(await this.bucket());
      this.cardProblem = undefined;
      if (last && card.seq < (await this.#seen.highest(this.#key.public.address))) return last;
      await this.#seen.see(this.#key.public.address, card.seq);
      await this.#remember(card.inboxes);
      return card.inboxes;
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      const isWithdrawn = error instanceof BadCard && error.isNone;
      const isNone = isWithdrawn || error instanceof Absent;
      const problem = isNone ? new BadCard('Your bucket has no inbox card: publish one.', { isNone }) : error;
      if (!last || isWithdrawn) throw problem;
      this.cardProblem = problem;
      return last;
    }
  }

  #remember(inboxes: string[]): Promise<boolean> {
    return this.#state.change<string[]>('own', (own) => {
      own.inboxes = inboxes;
      const leaving = (own.leaving ?? []).filter((inbox) => !inboxes.includes(inbox));
      if (leaving.length > 0) own.leaving = leaving;
      else delete own.leaving;
    });
  }
}

export function isNoInbox(problem: InboxError | undefined): boolean {
  return problem instanceof Refused && problem.code === 'no_inbox';
}

function checkInboxes(inboxes: readonly string[], most = MAX_INBOXES): string[] {
  if (inboxes.length < 1 || inboxes.length > most || !inboxes.every(isOrigin)) {
    throw new TypeError('An inbox card names one to three origins such as https://inbox.example, without a slash at the end.');
  }
  return [...new Set(inboxes)];
}
