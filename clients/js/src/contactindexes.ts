/** What contacts' own buckets say that they sent: for an audit, and for when no own inbox can be reached. */
import type { Contact, Contacts } from './contacts.js';
import { Absent, InboxError, Unreachable } from './errors.js';
import { MAX_INDEX_BYTES, readIndex } from './indexfile.js';
import type { IndexEntry } from './indexfile.js';
import type { AppKey } from './keys.js';
import type { LookUps } from './lookups.js';
import type { OwnFile } from './ownfile.js';
import { Pair, weekOf } from './pairs.js';
import type { People } from './people.js';
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
  /** How many contacts there are. */
  asked: number;
  entries: ContactEntry[];
  /** Whose index could not be read, and why. */
  problems: { from: string; problem: InboxError }[];
}

export interface ContactIndexesOptions {
  key: AppKey;
  lookUps: LookUps;
  contacts: Contacts;
  /** What all devices share of people. */
  file: OwnFile<People>;
}

export class ContactIndexes {
  readonly #key: AppKey;
  readonly #lookUps: LookUps;
  readonly #contacts: Contacts;
  readonly #file: OwnFile<People>;
  readonly #turns = new Turns(AT_ONCE);

  constructor({ key, lookUps, contacts, file }: ContactIndexesOptions) {
    this.#key = key;
    this.#lookUps = lookUps;
    this.#contacts = contacts;
    this.#file = file;
  }

  /** All contacts' indexes of this week and of those before. One that is not there is empty. */
  async read(now: UnixTime): Promise<ContactMail> {
    await this.#learn();
    const contacts = await this.#contacts.lately(now);
    const weeks = Array.from({ length: WEEKS }, (_, before) => weekOf(now) - before);
    const mail: ContactMail = { asked: contacts.length, entries: [], problems: [] };
    const each = contacts.map((contact) => this.#turns.take('', () => this.#ofContact(contact, weeks, mail)));
    await Promise.all(each);
    return mail;
  }

  /** Whom other devices have met or blocked meanwhile. While the file cannot be read, what this one last heard of it counts. */
  async #learn(): Promise<void> {
    try {
      const { known } = await this.#file.read();
      if (known) await this.#contacts.learn(known.people);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
    }
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
