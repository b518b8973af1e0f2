/** From a name, a key or an address to a bucket and its files. Each link is checked against the one before it. */
import { CARD_FILE, isValidAt, MAX_CARD_BYTES, readCard } from './card.js';
import type { Card } from './card.js';
import { Absent, BadCard, InboxError, NotProven, Unreachable } from './errors.js';
import { parseIdentity } from './identities.js';
import type { PublicKey } from './keys.js';
import { checkKey, isWholeKeyFile, KEY_FILES, MAX_KEY_FILE_BYTES, readKeyFile } from './keyfile.js';
import { findBucket, MAX_PROFILE_BYTES, readProfile } from './profile.js';
import { getText } from './requests.js';
import type { Fetch } from './requests.js';
import { lookUpName } from './services.js';
import type { UnixTime } from './tokens.js';
import type { Ticks } from './waits.js';
import { profileUrl } from './zonefile.js';

const FRESH_SECONDS = 600; // as long as a server remembers a chain, and
const STALE_SECONDS = 86_400; // how much longer while it cannot be asked
const MAX_REMEMBERED = 1000;

/** A bucket, and where it may be read: one URL for a name's, one below each known prefix for a key's or an address's. */
export interface Bucket {
  address: string;
  urls: string[];
  key: PublicKey | undefined;
}

export interface LookUpOptions {
  fetch: Fetch;
  clock: () => UnixTime;
  ticks: Ticks;
  /** What a server of our own says the time is; undefined where none does. */
  askTime: () => Promise<UnixTime | undefined>;
  app: string;
  names: readonly string[];
  agreement: boolean;
  /** Hubs' read prefixes, with a slash at the end: where the buckets of keys without a name are looked for. */
  prefixes: () => Promise<readonly string[]>;
}

/** The same bucket, read first at `url` if that is one of its places: a pointer chooses among trusted prefixes only. */
export function preferring(bucket: Bucket, url: string | undefined): Bucket {
  const urls = bucket.urls.filter((each) => each === url);
  return { ...bucket, urls: [...urls, ...bucket.urls.filter((each) => each !== url)] };
}

export class LookUps {
  readonly #options: LookUpOptions;
  readonly #buckets = new Map<string, { since: number; bucket: Promise<Bucket> }>();

  constructor(options: LookUpOptions) {
    this.#options = options;
  }

  /**
   * Remembered for ten minutes, and for a day while it cannot be found, unless `fresh`. Throws `NotProven` (see `Lapses`)
   * or `Unreachable`.
   */
  bucket(identity: string, { fresh = false } = {}): Promise<Bucket> {
    const now = this.#options.ticks();
    const known = this.#buckets.get(identity);
    if (known && !fresh && now - known.since < FRESH_SECONDS) return known.bucket;
    if (this.#buckets.size >= MAX_REMEMBERED) this.#buckets.clear();
    const bucket = this.#find(identity);
    this.#buckets.set(identity, { since: now, bucket });
    return bucket.catch((error: unknown) => {
      this.#buckets.delete(identity); // a failure is told once, and asked again
      if (!known || !(error instanceof InboxError) || !error.isForNow) throw error;
      this.#buckets.set(identity, known);
      if (fresh || now - known.since >= STALE_SECONDS) throw error;
      return known.bucket;
    });
  }

  /**
   * The bucket's key: stated by its owner, or the first in a key file that hashes to its address. Throws as `bucket`; a
   * file that is not whole is just being written.
   */
  async key(bucket: Bucket): Promise<PublicKey> {
    if (bucket.key) return bucket.key;
    const files: string[] = [];
    for (const file of KEY_FILES) {
      try {
        const text = await this.read(bucket, file, MAX_KEY_FILE_BYTES);
        const key = readKeyFile(text, bucket.address);
        if (key) return (bucket.key = key);
        files.push(text);
      } catch (error) {
        if (!(error instanceof Absent)) throw error;
      }
    }
    if (!files.every(isWholeKeyFile)) throw new Unreachable('The key file in the bucket is not whole: it may just be written.');
    const isForNow = files.length === 0;
    throw new NotProven('No key in the profile or the bucket hashes to the address of the bucket.', { isForNow });
  }

  /** Always reads the card again, because its owner may have moved. Throws `BadCard` or `Unreachable`. */
  async card(bucket: Bucket): Promise<Card> {
    try {
      const card = readCard(await this.read(bucket, CARD_FILE, MAX_CARD_BYTES), bucket.address);
      if (isValidAt(card, this.#options.clock())) return card;
      const now = await this.#options.askTime();
      if (now !== undefined && isValidAt(card, now)) return card;
      const orClock = now === undefined ? '; or the clock of this device is wrong' : '';
      throw new BadCard(`The inbox card has expired, or is not valid yet${orClock}.`);
    } catch (error) {
      if (error instanceof Absent) throw new BadCard('There is no inbox card in the bucket.', { isNone: true, isForNow: true });
      throw error;
    }
  }

  /** A file of a bucket. Throws `Absent` only if every place that may have it says so, else `Unreachable`. */
  async read(bucket: Bucket, path: string, maxBytes: number): Promise<string> {
    let failure: unknown = new Unreachable('No hub prefix is configured, so no bucket of a key can be found.');
    for (const [at, url] of bucket.urls.entries()) {
      try {
        return await getText(this.#options.fetch, url + path, { maxBytes });
      } catch (error) {
        if (at === 0 || error instanceof Unreachable) failure = error;
      }
    }
    throw failure;
  }

  async #find(text: string): Promise<Bucket> {
    const identity = parseIdentity(text);
    if (identity.kind === 'name') return this.#follow(identity.text);
    const key = identity.kind === 'key' ? identity.key : undefined;
    const address = key ? key.address : identity.text;
    return { address, key, urls: (await this.#options.prefixes()).map((prefix) => `${prefix}${address}/`) };
  }

  /** Name service, zone file, signed profile, bucket. */
  async #follow(name: string): Promise<Bucket> {
    const { fetch, names, agreement, app } = this.#options;
    const { owner, zoneFile } = await lookUpName(fetch, names, agreement, name);
    const url = profileUrl(zoneFile);
    if (!url) throw new NotProven('The zone file of the name names no profile (`_http._tcp URI`).', { isForNow: !zoneFile });
    let text: string;
    try {
      text = await getText(fetch, url, { maxBytes: MAX_PROFILE_BYTES });
    } catch (error) {
      if (error instanceof Absent) throw new NotProven('There is no profile at the URL in the zone file of the name.', { isForNow: true });
      throw error;
    }
    const stated = findBucket(readProfile(text, owner), app);
    const key = stated.statedKey === undefined ? undefined : checkKey(stated.statedKey, stated.address);
    return { address: stated.address, urls: [stated.url], key };
  }
}
