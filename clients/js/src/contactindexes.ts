/** What contacts' own buckets say that they sent: for an audit, and for when no own inbox can be reached. */
import type { Contact } from './contacts.js';
import { Absent, InboxError, Unreachable } from './errors.js';
import { MAX_INDEX_BYTES, readIndex } from './indexfile.js';
import type { IndexEntry } from './indexfile.js';
import type { AppKey } from './keys.js';
import type { LookUps } from './lookups.js';
import { Pair, weekOf } from './pairs.js';
import { isWholeJson } from './tokens.js';
import type { UnixTime } from './tokens.js';
import { Turns } from './turns.js';

const AT_ONCE = 8;
const WEEKS = 5; // the retention at the default, and the week that has begun

export interface ContactEntry extends IndexEntry {
  /** The contact's identity. */
  from: string;
}

export interface ContactMail {
  entries: ContactEntry[];
  /** Whose index could not be read, and why. */
  problems: { from: string; problem: InboxError }[];
}

export class ContactIndexes {
  readonly #key: AppKey;
  readonly #lookUps: LookUps;
  readonly #turns = new Turns(AT_ONCE);

  constructor(key: AppKey, lookUps: LookUps) {
    this.#key = key;
    this.#lookUps = lookUps;
  }

  /** Their indexes of this week and of those before. One that is not there is empty. */
  async ofContacts(contacts: readonly Contact[], now: UnixTime): Promise<ContactMail> {
    const weeks = Array.from({ length: WEEKS }, (_, before) => weekOf(now) - before);
    const mail: ContactMail = { entries: [], problems: [] };
    const each = contacts.map((contact) => this.#turns.take('', () => this.#ofContact(contact, weeks, mail)));
    await Promise.all(each);
    return mail;
  }

  async #ofContact({ identity: from, key }: Contact, weeks: readonly number[], mail: ContactMail): Promise<void> {
    try {
      const pair = Pair.from(key ?? (await this.#lookUps.key(await this.#lookUps.bucket(from))), this.#key);
      for (const week of weeks) {
        for (const entry of await this.#ofWeek(from, pair, week)) mail.entries.push({ ...entry, from });
      }
    } catch (problem) {
      if (!(problem instanceof InboxError)) throw problem;
      mail.problems.push({ from, problem });
    }
  }

  async #ofWeek(identity: string, pair: Pair, week: number): Promise<IndexEntry[]> {
    const bucket = await this.#lookUps.bucket(identity);
    try {
      const text = await this.#lookUps.read(bucket, pair.indexPath(week), MAX_INDEX_BYTES);
      if (!isWholeJson(text)) throw new Unreachable('The index is not whole: it may just be written.');
      return readIndex(text, pair, week, this.#key);
    } catch (error) {
      if (error instanceof Absent) return [];
      throw error;
    }
  }
}
