/** Step 5: what an entry leads to, fetched from its sender's bucket and verified. */
import type { Contacts } from './contacts.js';
import { decrypt, openEnvelope } from './ecies.js';
import type { Content } from './ecies.js';
import { Absent, InboxError, NotAuthentic } from './errors.js';
import type { AppKey } from './keys.js';
import type { Lapses } from './lapses.js';
import { preferring } from './lookups.js';
import type { Bucket, LookUps } from './lookups.js';
import type { Missed } from './missed.js';
import type { Own } from './own.js';
import type { Listed } from './pages.js';
import { Pair } from './pairs.js';
import { isOfPair, readMessageId } from './pointer.js';
import type { Pointer } from './pointer.js';
import { isWholeJson } from './tokens.js';

export const MAX_MESSAGE_BYTES = 20 << 20; // what a hub stores

/** A verified message. A sender who repeats one has the same `from` and `id`: drop the second by both. */
export interface Message {
  id: string;
  from: string;
  content: Content;
  entry: Listed;
}

export interface MessagesOptions {
  key: AppKey;
  app: string;
  own: Own;
  contacts: Contacts;
  lookUps: LookUps;
  lapses: Lapses;
  missed: Missed;
}

export class Messages {
  readonly #what: MessagesOptions;

  constructor(what: MessagesOptions) {
    this.#what = what;
  }

  /** See `InboxClient.fetch`. */
  async fetch(entry: Listed): Promise<Message> {
    const { lapses, missed } = this.#what;
    try {
      const message = await lapses.during(`entry ${entry.id}`, () => this.#fetch(entry));
      missed.forget([entry.id]);
      return message;
    } catch (error) {
      if (error instanceof InboxError && error.isForNow) missed.note(entry);
      else missed.forget([entry.id]);
      throw error;
    }
  }

  async #fetch(entry: Listed): Promise<Message> {
    const { key, app, own, lookUps, contacts } = this.#what;
    const pointer: Pointer = entry.found ? { ...entry.found, app } : readMessageId(entry.messageId, key);
    const { id, from, url, link } = pointer;
    if (pointer.app !== app) throw new NotAuthentic('The message is of another app.');
    let bucket = preferring(await lookUps.bucket(from), url);
    let text = await this.#read(bucket, id);
    if (text === undefined || openEnvelope(text).signer.address !== bucket.address) {
      bucket = preferring(await lookUps.bucket(from, { fresh: true }), url); // the sender may have another key since
      text = await this.#read(bucket, id);
    }
    if (text === undefined) throw new Absent('The message is not in the bucket of its sender.', { isForNow: true });
    const { signer, encrypted } = openEnvelope(text);
    if (signer.address !== bucket.address) {
      throw new NotAuthentic("The message is not signed by the key of the sender's bucket.");
    }
    if (await contacts.isBlocked(signer)) {
      throw new InboxError('The sender is blocked.'); // with a ticket of before, which no server can refuse
    }
    if (!isOfPair(pointer, Pair.from(signer, key))) throw new NotAuthentic('The pointer to the message is not by its sender.');
    const content = decrypt(key, encrypted);
    await contacts.meet(signer, from, own.now(), 'heard', link?.n ?? entry.found?.n);
    return { id, from, content, entry };
  }

  /** Undefined where there is none, or none that is whole. */
  async #read(bucket: Bucket, id: string): Promise<string | undefined> {
    try {
      const text = await this.#what.lookUps.read(bucket, `outbox/${id}.json`, MAX_MESSAGE_BYTES * 3); // hex, and JSON around it
      return isWholeJson(text) ? text : undefined;
    } catch (error) {
      if (error instanceof Absent) return undefined;
      throw error;
    }
  }
}
