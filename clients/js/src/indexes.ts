/** The own indexes: what was sent to whom, kept with its receipts in the own bucket. */
import type { OwnBucket } from './bucket.js';
import { fromBase64Url, toBase64Url } from './bytes.js';
import type { Random } from './ecies.js';
import { BucketFailed, CannotDecrypt, InboxError, NotAuthentic, Unreachable } from './errors.js';
import { makeIndex, MAX_INDEX_BYTES, mergeEntries, readIndex } from './indexfile.js';
import type { IndexEntry } from './indexfile.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import { hashOfPointer, Pair, weekOf } from './pairs.js';
import { linkOf, pointerText } from './pointer.js';
import type { Pointer } from './pointer.js';
import { getFile } from './requests.js';
import type { Fetch } from './requests.js';
import type { State } from './state.js';
import { isWholeJson } from './tokens.js';
import type { UnixTime } from './tokens.js';
import { Turns } from './turns.js';

const IS_OTHER = 412;
const TRIES = 3; // another device writes at the same moment, seldom twice
const WEEKS_BEFORE = 4; // in which a device that knows nothing looks for the last number
const NO_POINTER = new Uint8Array(16);

export interface IndexesOptions {
  state: State;
  key: AppKey;
  fetch: Fetch;
  random: Random;
  bucket: () => Promise<OwnBucket>;
}

/** Where the counter of a pair stands: the last number, and the hash of the pointer that had it. */
interface Counter {
  n: number;
  prev?: string;
}

/** Which file a delivery belongs into, and its number there. */
export interface Slot {
  /** The recipient's key. */
  to: string;
  week: number;
  n: number;
}

interface Known {
  etag: string | undefined;
  entries: IndexEntry[];
}

export class Indexes {
  readonly #options: IndexesOptions;
  readonly #files = new Map<string, Known>();
  readonly #turns = new Turns(1);

  constructor(options: IndexesOptions) {
    this.#options = options;
  }

  /**
   * The next pointer to a recipient: its plain text, and its place in the index. Where name and app leave no room for a
   * link, the pointer is of the old form.
   */
  async next(pointer: Pointer, to: PublicKey, now: UnixTime): Promise<{ plain: string; slot: Slot; isLinked: boolean }> {
    const pair = Pair.to(to, this.#options.key);
    const highest = await this.#highest(pair, weekOf(now));
    let [plain, n, isLinked] = [pointerText(pointer), 1, true];
    await this.#options.state.change<Counter>('pairs', (pairs) => {
      const before = pairs[to.hex];
      n = Math.max(before?.n ?? 0, highest) + 1;
      const prev = before?.prev === undefined ? NO_POINTER : fromBase64Url(before.prev);
      try {
        plain = pointerText({ ...pointer, link: linkOf(pair, n, prev, pointer.id) });
      } catch {
        isLinked = false;
      }
      pairs[to.hex] = { n, prev: toBase64Url(hashOfPointer(plain)) };
    });
    return { plain, slot: { to: to.hex, week: weekOf(now), n }, isLinked };
  }

  /** Keep it first, then write it, and what could not be written before. Returns why the file could not be written. */
  async put({ to, week }: Slot, entry: IndexEntry): Promise<InboxError | undefined> {
    const name = `${to} ${week}`;
    await this.#options.state.change<IndexEntry[]>('index', (waiting) => {
      waiting[name] = mergeEntries(waiting[name] ?? [], [entry]);
    });
    return this.flush();
  }

  /** Write what waits. */
  async flush(): Promise<InboxError | undefined> {
    const names = Object.keys(await this.#options.state.read<IndexEntry[]>('index'));
    const problems = await Promise.all(names.map((name) => this.#turns.take(name, () => this.#flush(name))));
    return problems.find(Boolean);
  }

  async #flush(name: string): Promise<InboxError | undefined> {
    const waiting = (await this.#options.state.read<IndexEntry[]>('index'))[name] ?? [];
    if (waiting.length === 0) return undefined;
    const [to = '', week = ''] = name.split(' ');
    try {
      await this.#write(Pair.to(PublicKey.parse(to), this.#options.key), Number(week), waiting);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return error;
    }
    const written = new Set(waiting.map((each) => JSON.stringify(each)));
    await this.#options.state.change<IndexEntry[]>('index', (left) => {
      left[name] = (left[name] ?? []).filter((each) => !written.has(JSON.stringify(each)));
      if (left[name].length === 0) delete left[name];
    });
    return undefined;
  }

  /** The first is written without looking whether there is one: a cache would remember, and tell others, that there is none. */
  async #write(pair: Pair, week: number, added: readonly IndexEntry[]): Promise<void> {
    const { key, random } = this.#options;
    const path = pair.indexPath(week);
    const bucket = await this.#options.bucket();
    for (let tries = 1; ; tries += 1) {
      const known = this.#files.get(path);
      const entries = mergeEntries(known?.entries ?? [], added);
      if (known && JSON.stringify(entries) === JSON.stringify(known.entries)) return;
      try {
        const condition = known ? { etag: known.etag } : { isNew: true };
        const etag = await bucket.write(path, makeIndex(key, pair, week, entries, random), condition);
        if (etag === undefined) this.#files.delete(path);
        else this.#files.set(path, { etag, entries });
        return;
      } catch (error) {
        const isOther = error instanceof BucketFailed && error.status === IS_OTHER;
        if (!isOther || tries === TRIES) throw error;
      }
      this.#files.set(path, await this.#read(bucket.url + path, pair, week));
    }
  }

  /**
   * The last number in earlier weeks, where this device knows none. This week's file is not looked for: caches would
   * remember that there is none.
   */
  async #highest(pair: Pair, week: number): Promise<number> {
    if (pair.to.hex in (await this.#options.state.read<Counter>('pairs'))) return 0;
    const { url } = await this.#options.bucket();
    const weeks = Array.from({ length: WEEKS_BEFORE }, (_, before) => week - 1 - before);
    const read = weeks.map((each) => this.#read(url + pair.indexPath(each), pair, each).catch(ignored));
    return Math.max(0, ...(await Promise.all(read)).flatMap((known) => known?.entries ?? []).map(({ n }) => n));
  }

  /** What another device wrote, or this one before it forgot. The counter goes on above it. */
  async #read(url: string, pair: Pair, week: number): Promise<Known> {
    const { fetch, key, state } = this.#options;
    const { text, etag } = await getFile(fetch, url, { maxBytes: MAX_INDEX_BYTES });
    if (!isWholeJson(text)) throw new Unreachable('The index is not whole: another device may just write it.');
    let entries: IndexEntry[] = [];
    try {
      entries = readIndex(text, pair, week, key);
    } catch (error) {
      if (!(error instanceof NotAuthentic || error instanceof CannotDecrypt)) throw error; // nobody can read it: written anew
    }
    const highest = Math.max(0, ...entries.map(({ n }) => n));
    await state.change<Counter>('pairs', (pairs) => {
      if (highest > (pairs[pair.to.hex]?.n ?? 0)) pairs[pair.to.hex] = { n: highest };
    });
    return { etag, entries };
  }
}

function ignored(error: unknown): undefined {
  if (!(error instanceof InboxError)) throw error;
}
