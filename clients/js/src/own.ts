/** What is the user's own: the bucket, the card in it, and the inboxes that the card names. */
import { OwnBucket } from './bucket.js';
import { CARD_FILE, makeCard, MAX_CARD_BYTES, MAX_INBOXES, readOwnCard } from './card.js';
import type { Card } from './card.js';
import { Absent, BadCard, BucketFailed, InboxError, Unreachable } from './errors.js';
import { isOrigin } from './identities.js';
import { Inbox } from './inbox.js';
import type { AppKey } from './keys.js';
import { KEY_FILES } from './keyfile.js';
import type { Settled } from './options.js';
import { getText } from './requests.js';
import { SeenCards } from './seen.js';
import type { State } from './state.js';

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
  readonly #servers = new Map<string, Inbox>();
  #opening: Promise<OwnBucket> | undefined;
  #named: string[] | undefined;

  /** `inboxes` are those that the app named; without, they are those of the card. Throws `TypeError`. */
  constructor(key: AppKey, options: Settled, state: State, inboxes: readonly string[] | undefined) {
    this.#key = key;
    this.#options = options;
    this.#state = state;
    this.#seen = new SeenCards(state);
    this.#named = inboxes && checkInboxes(inboxes);
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  bucket(): Promise<OwnBucket> {
    const { fetch, hub, random } = this.#options;
    if (hub === undefined) return Promise.reject(new BucketFailed('No hub is configured to write to.'));
    if (!this.#opening) {
      this.#opening = OwnBucket.open(fetch, hub, this.#key, random);
      this.#opening.catch(() => (this.#opening = undefined)); // the next call tries again
    }
    return this.#opening;
  }

  /** Where buckets of people without names are looked for. */
  async prefixes(): Promise<string[]> {
    const { hub, prefixes } = this.#options;
    return hub === undefined ? prefixes : [...new Set([(await this.bucket()).readPrefix, ...prefixes])];
  }

  async publish(inboxes: readonly string[]): Promise<Card> {
    const named = checkInboxes(inboxes);
    const bucket = await this.bucket();
    const { address, hex } = this.#key.public;
    const seq = Math.max((await this.#card(bucket))?.seq ?? 0, await this.#seen.highest(address)) + 1;
    const card = { inboxes: named, seq };
    await bucket.write(KEY_FILES[0], JSON.stringify(hex));
    await bucket.write(CARD_FILE, makeCard(this.#key, card, this.#options.clock()));
    await this.#seen.see(address, seq);
    await this.#remember(named);
    this.#named = named;
    return card;
  }

  /**
   * As the app named them, or as the own card says, for another device may have changed it; or else as it last said.
   * Throws `BadCard` where there is none yet, `BucketFailed` or `Unreachable`.
   */
  async inboxes(): Promise<Inbox[]> {
    this.#named ??= await this.#ofCard();
    return this.#named.map((url) => this.server(url));
  }

  server(url: string): Inbox {
    const { fetch, clock, app } = this.#options;
    const server = this.#servers.get(url) ?? new Inbox(url, { fetch, clock, key: this.#key, app });
    this.#servers.set(url, server);
    return server;
  }

  /** Ask every own inbox, at once. */
  async each<Result>(ask: (inbox: Inbox) => Promise<Result>): Promise<Report<Result>[]> {
    return Promise.all(
      (await this.inboxes()).map(async (inbox) => {
        try {
          return { inbox: inbox.url, result: await ask(inbox) };
        } catch (problem) {
          if (!(problem instanceof InboxError)) throw problem;
          return { inbox: inbox.url, problem };
        }
      }),
    );
  }

  async #ofCard(): Promise<string[]> {
    try {
      const card = await this.#card(await this.bucket());
      if (!card) throw new BadCard('There is no own inbox card yet: publish one.');
      await this.#remember(card.inboxes);
      return card.inboxes;
    } catch (error) {
      const last = (await this.#state.read<string[]>('own')).inboxes;
      if (last && (error instanceof Unreachable || error instanceof BucketFailed)) return last;
      throw error;
    }
  }

  async #card({ url }: OwnBucket): Promise<Card | undefined> {
    try {
      const text = await getText(this.#options.fetch, url + CARD_FILE, { maxBytes: MAX_CARD_BYTES });
      return readOwnCard(text, this.#key.public.address);
    } catch (error) {
      if (error instanceof Absent || error instanceof BadCard) return undefined;
      throw error;
    }
  }

  #remember(inboxes: string[]): Promise<void> {
    return this.#state.change<string[]>('own', (own) => {
      own.inboxes = inboxes;
    });
  }
}

function checkInboxes(inboxes: readonly string[]): string[] {
  if (inboxes.length < 1 || inboxes.length > MAX_INBOXES || !inboxes.every(isOrigin)) {
    throw new TypeError('An inbox card names one to three origins such as https://inbox.example, without a slash at the end.');
  }
  return [...new Set(inboxes)];
}
