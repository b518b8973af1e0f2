/** Step 5: what an entry leads to, fetched from its sender's bucket and verified. */
import { decrypt, openEnvelope } from './ecies.js';
import type { Content } from './ecies.js';
import { Absent, NotAuthentic } from './errors.js';
import type { Listed } from './inbox.js';
import type { AppKey } from './keys.js';
import type { Lapses } from './lapses.js';
import { preferring } from './lookups.js';
import type { Bucket, LookUps } from './lookups.js';
import { readMessageId } from './pointer.js';
import { isWholeJson } from './tokens.js';

export const MAX_MESSAGE_BYTES = 20 << 20; // what a hub stores

/** A verified message. A sender who repeats one has the same `from` and `id`: drop the second by both. */
export interface Message {
  id: string;
  from: string;
  content: Content;
  entry: Listed;
}

export class Messages {
  readonly #key: AppKey;
  readonly #app: string;
  readonly #lookUps: LookUps;
  readonly #lapses: Lapses;

  constructor(key: AppKey, app: string, lookUps: LookUps, lapses: Lapses) {
    this.#key = key;
    this.#app = app;
    this.#lookUps = lookUps;
    this.#lapses = lapses;
  }

  /** See `InboxClient.fetch`. */
  fetch(entry: Listed): Promise<Message> {
    return this.#lapses.during(`entry ${entry.id}`, () => this.#fetch(entry));
  }

  async #fetch(entry: Listed): Promise<Message> {
    const { id, from, app, url } = readMessageId(entry.messageId, this.#key);
    if (app !== this.#app) throw new NotAuthentic('The message is of another app.');
    let bucket = preferring(await this.#lookUps.bucket(from), url);
    let text = await this.#read(bucket, id);
    if (text === undefined || openEnvelope(text).signer.address !== bucket.address) {
      bucket = preferring(await this.#lookUps.bucket(from, { fresh: true }), url); // the sender may have another key since
      text = await this.#read(bucket, id);
    }
    if (text === undefined) throw new Absent('The message is not in the bucket of its sender.', { isForNow: true });
    const { signer, encrypted } = openEnvelope(text);
    if (signer.address !== bucket.address) {
      throw new NotAuthentic("The message is not signed by the key of the sender's bucket.");
    }
    return { id, from, content: decrypt(this.#key, encrypted), entry };
  }

  /** Undefined where there is none, or none that is whole. */
  async #read(bucket: Bucket, id: string): Promise<string | undefined> {
    try {
      const text = await this.#lookUps.read(bucket, `outbox/${id}.json`, MAX_MESSAGE_BYTES * 3); // hex, and JSON around it
      return isWholeJson(text) ? text : undefined;
    } catch (error) {
      if (error instanceof Absent) return undefined;
      throw error;
    }
  }
}
