/** The card in the own bucket, and the receipt keys that it names. Another device may have written it. */
import type { Condition, OwnBucket } from './bucket.js';
import { CARD_FILE, makeCard, MAX_CARD_BYTES, NO_CARD, readCard, receiptKeysOf } from './card.js';
import type { Card, TimedCard } from './card.js';
import { askCapabilities } from './check.js';
import { Absent, BadCard, BucketFailed, InboxError, Unreachable } from './errors.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import type { Settled } from './options.js';
import { getFile, getText } from './requests.js';
import type { SeenCards } from './seen.js';
import type { Sheets, SheetSet } from './sheets.js';
import type { State } from './state.js';
import type { Sealed } from './tickets.js';
import type { UnixTime } from './tokens.js';

const IS_THERE = 412;
const RENEW_SECONDS = 60 * 86_400; // of 400: enough for somebody who opens the app once in two months
const MOST_KEYS = 5; // of one server: each is from a secret that it had

/** `sheets`: why contacts have no new tickets, or none at all; `watch` tries again. */
export interface Published {
  seq: number;
  inboxes: string[];
  sheets?: InboxError;
}

export class OwnCard {
  readonly #key: AppKey;
  readonly #options: Settled;
  readonly #state: State;
  readonly #seen: SeenCards;
  readonly #sheets: Sheets;

  constructor(key: AppKey, options: Settled, state: State, seen: SeenCards, sheets: Sheets) {
    this.#sheets = sheets;
    this.#key = key;
    this.#options = options;
    this.#state = state;
    this.#seen = seen;
  }

  /**
   * `seq` is never below the time, so that it is high enough also where no earlier one is known any more. The first is
   * written without looking whether there is one: a cache would remember, and tell others, that there is none. With
   * `isFirst` it is not written over one that names other inboxes.
   */
  async write(bucket: OwnBucket, inboxes: string[], now: UnixTime, isFirst = false): Promise<Published> {
    const receiptKeys = await Promise.all(inboxes.map((inbox) => this.#askReceiptKey(inbox)));
    const seen = await this.#seen.highest(this.#key.public.address);
    const { set, problem } = await this.#prepare(inboxes, now);
    const sealed = problem ? await this.#claimBefore(bucket, inboxes, seen) : set;
    const write = async (highest: number, over: Condition): Promise<Published> => {
      const card = { inboxes, seq: Math.max(highest + 1, now), receiptKeys, ...(sealed ? { sealed } : {}) };
      await bucket.write(CARD_FILE, makeCard(this.#key, card, now), over);
      await this.#remember(card);
      if (set) await this.#sheets.published(set, now);
      const why = problem ?? this.#sheets.problem;
      return { inboxes, seq: card.seq, ...(why ? { sheets: why } : {}) };
    };
    try {
      if (seen === 0 || isFirst) return await write(seen, { isNew: true });
    } catch (error) {
      if (!isThere(error)) throw error;
    }
    if (!isFirst) return write(Math.max((await this.find(bucket))?.seq ?? 0, seen), {});
    const { seq, etag } = await this.#withoutOthers(bucket, inboxes);
    return write(Math.max(seq, seen), { etag }).catch((error: unknown) => {
      throw isThere(error) ? notShown() : error;
    });
  }

  /**
   * See that every inbox has the sheets of these weeks, and that the card says so: it is written anew where it does not, and
   * only over the one that was read. Undefined where that was not needed. Throws as `read`, and `BucketFailed` or `Refused`.
   */
  async reseal(bucket: OwnBucket, now: UnixTime, sendAll: boolean): Promise<Card | undefined> {
    const { text, etag } = await getFile(this.#options.fetch, bucket.url + CARD_FILE, { maxBytes: MAX_CARD_BYTES });
    const card = readCard(text, this.#key.public.address);
    if (card.seq < (await this.#seen.highest(this.#key.public.address))) return undefined; // a host shows an old one
    const set = await this.#sheets.prepare(card.inboxes, now, { sendAll, claimed: card.sealed, isPatient: true });
    if (!set) return undefined;
    const { inboxes, receiptKeys } = card;
    const sealed = { per: set.per, edition: set.edition };
    const isSaid = card.sealed?.edition === set.edition && card.sealed.per === set.per;
    const next = { inboxes, seq: Math.max(card.seq + 1, now), sealed, ...(receiptKeys ? { receiptKeys } : {}) };
    if (!isSaid) await bucket.write(CARD_FILE, makeCard(this.#key, next, now), { etag });
    await this.#sheets.published(set, now);
    return isSaid ? undefined : next;
  }

  /** The card, if it ends soon, or lacks the receipt key of a server; a host's old copy of it does not count. */
  async dueForRenewal(bucket: OwnBucket, now: UnixTime): Promise<Card | undefined> {
    const card = await this.find(bucket);
    if (!card || card.seq < (await this.#seen.highest(this.#key.public.address))) return undefined;
    if (card.exp - now <= RENEW_SECONDS) return card;
    const keys = await Promise.all(card.inboxes.map((inbox) => this.#askReceiptKey(inbox)));
    return keys.some((key, at) => key !== null && key !== card.receiptKeys?.[at]) ? card : undefined;
  }

  async withdraw(bucket: OwnBucket): Promise<void> {
    await bucket.write(CARD_FILE, NO_CARD);
  }

  /** Throws `Absent`, `BadCard` or `Unreachable`. */
  async read(bucket: OwnBucket): Promise<Card> {
    const card = readCard(await this.#text(bucket), this.#key.public.address);
    await this.#remember(card);
    return card;
  }

  /** Also one that has expired, for the next `seq` must be higher; undefined where none can be read that is ours. */
  async find(bucket: OwnBucket): Promise<TimedCard | undefined> {
    const text = await this.#text(bucket).catch((error: unknown) => {
      if (!(error instanceof Absent)) throw error;
    });
    try {
      return text === undefined ? undefined : readCard(text, this.#key.public.address);
    } catch {
      return undefined;
    }
  }

  /** A card that names no other inboxes: it was withdrawn, or another device has published it just now. Throws `BadCard`. */
  async #withoutOthers({ url }: OwnBucket, inboxes: readonly string[]): Promise<{ seq: number; etag: string | undefined }> {
    try {
      const { text, etag } = await getFile(this.#options.fetch, url + CARD_FILE, { maxBytes: MAX_CARD_BYTES });
      if (text.trim() === NO_CARD) return { seq: 0, etag };
      const card = readCard(text, this.#key.public.address);
      if (card.inboxes.every((inbox) => inboxes.includes(inbox))) return { seq: card.seq, etag };
    } catch (error) {
      if (!(error instanceof Absent)) throw error;
    }
    throw notShown();
  }

  /** The receipt keys of a server that the own card has named, newest first; or else the first that it was heard to have. */
  async receiptKeys(inbox: string): Promise<string[]> {
    const keys = (await this.#state.read<string[]>('receipt_keys'))[inbox] ?? [];
    if (keys.length > 0) return keys;
    const stated = await askKey(this.#options, inbox);
    if (stated === null) return [];
    await this.#state.change<string[]>('receipt_keys', (known) => void (known[inbox] ??= [stated]));
    return [stated];
  }

  async #prepare(inboxes: readonly string[], now: UnixTime): Promise<{ set?: SheetSet | undefined; problem?: InboxError }> {
    try {
      return { set: await this.#sheets.prepare(inboxes, now) };
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return { problem: error };
    }
  }

  /** What the card claims already stays, as long as it names no inbox that has no sheets: contacts rely on it. */
  async #claimBefore(bucket: OwnBucket, inboxes: readonly string[], seen: number): Promise<Sealed | undefined> {
    const card = seen > 0 ? await this.find(bucket) : undefined;
    return card && inboxes.every((inbox) => card.inboxes.includes(inbox)) ? card.sealed : undefined;
  }

  /** What the server says; or what it said before, where it does not answer. */
  async #askReceiptKey(inbox: string): Promise<string | null> {
    try {
      return await askKey(this.#options, inbox);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      return (await this.#state.read<string[]>('receipt_keys'))[inbox]?.[0] ?? null;
    }
  }

  async #remember(card: Card): Promise<void> {
    const named = Object.entries(receiptKeysOf(card));
    const known = await this.#state.read<string[]>('receipt_keys');
    if (named.every(([inbox, key]) => known[inbox]?.[0] === key)) return;
    await this.#state.change<string[]>('receipt_keys', (keys) => {
      for (const [inbox, key] of named) keys[inbox] = [...new Set([key, ...(keys[inbox] ?? [])])].slice(0, MOST_KEYS);
    });
  }

  #text({ url }: OwnBucket): Promise<string> {
    return getText(this.#options.fetch, url + CARD_FILE, { maxBytes: MAX_CARD_BYTES });
  }
}

function isThere(error: unknown): boolean {
  return error instanceof BucketFailed && error.status === IS_THERE;
}

function notShown(): BadCard {
  return new BadCard('Your bucket has an inbox card that its host did not show before. Try again.', { isForNow: true });
}

/** Null where a server gives no receipts. */
async function askKey({ fetch }: Settled, inbox: string): Promise<string | null> {
  const { receipts } = await askCapabilities(fetch, inbox);
  try {
    return receipts ? PublicKey.parse(receipts.key).hex : null;
  } catch {
    return null;
  }
}
