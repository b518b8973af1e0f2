/** The user's own Gaia bucket: written through a hub with a token of the bucket's key, read by anyone. */
import { BucketFailed } from './errors.js';
import type { Random } from './ecies.js';
import type { AppKey } from './keys.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch } from './requests.js';
import { hubToken, isWholeJson, parseObject } from './tokens.js';
import type { UnixTime } from './tokens.js';
import type { Sleep } from './waits.js';

const MAX_ANSWER_BYTES = 64 * 1024;
const UPLOAD_SECONDS = 60;
const MAX_WORDS = 200;
const INFO = 'hub_info';
const [STORED, TOKEN_REFUSED, REFUSED, FAILED] = [202, 401, 400, 500];
const BUSY = [409, 429, 503]; // another write to the same file is under way, or there are too many
const SHORT_PAUSE_SECONDS = 1; // where a hub, or a browser that hides the header, does not say how long
const LONGEST_PAUSE_SECONDS = 20;
/** Line ends, control characters, and marks that turn the direction of what comes after them. */
const UNSAFE = /[\s\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu;

export interface HubAccess {
  fetch: Fetch;
  hub: string;
  key: AppKey;
  associationToken: string | undefined;
  random: Random;
  sleep: Sleep;
  clock: () => UnixTime;
  /** What a server of our own says the time is; undefined where none does. */
  askTime: () => Promise<UnixTime | undefined>;
}

/** On which a file is stored; none writes over whatever is there. */
export interface Condition {
  isNew?: boolean;
  /** Of the file that is to be replaced, as it was read or written. */
  etag?: string | undefined;
}

interface HubInfo {
  challenge: string;
  readPrefix: string;
  /** By the hub's clock, where it says. */
  now: UnixTime | undefined;
}

export class OwnBucket {
  readonly #access: HubAccess;
  #info: HubInfo;
  #ahead = 0;

  private constructor(access: HubAccess, info: HubInfo) {
    this.#access = access;
    this.#info = info;
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  static async open(access: HubAccess): Promise<OwnBucket> {
    return new OwnBucket(access, await readInfo(access));
  }

  /** The hub's: with an address and a slash after it, any bucket of the hub. */
  get readPrefix(): string {
    return this.#info.readPrefix;
  }

  /** The public URL, with a slash at the end. */
  get url(): string {
    return `${this.readPrefix}${this.#access.key.public.address}/`;
  }

  /**
   * Store a file, over an older one if there is one; with `isNew` only if there is none, with `etag` only over that one, or
   * it fails with the status 412. A refusal that is temporary, or due to a new challenge, is tried once more. Returns the
   * file's ETag, as far as the hub tells. Throws `BucketFailed` or `Unreachable`.
   */
  async write(path: string, content: string, condition: Condition = {}): Promise<string | undefined> {
    let response = await this.#store(path, content, condition);
    if ([TOKEN_REFUSED, ...BUSY].includes(response.status)) {
      await response.body?.cancel();
      await (response.status === TOKEN_REFUSED ? this.#renew() : this.#pause(response));
      response = await this.#store(path, content, condition);
    }
    const how = response.status === TOKEN_REFUSED && !this.#access.associationToken ? ' without an association token' : '';
    const { etag } = await answerOf(response, STORED, `storing ${path}${how}`);
    return typeof etag === 'string' ? etag : undefined;
  }

  #store(path: string, content: string, { isNew, etag }: Condition): Promise<Response> {
    const { fetch, hub, key, associationToken, random, clock } = this.#access;
    const { challenge } = this.#info;
    const token = hubToken(key, { hubUrl: hub, challenge, salt: random(16), associationToken, now: clock() + this.#ahead });
    const condition: Record<string, string> = isNew ? { 'If-None-Match': '*' } : etag === undefined ? {} : { 'If-Match': etag };
    return request(fetch, `${hub}/store/${key.public.address}/${path}`, {
      method: 'POST',
      headers: { Authorization: `bearer ${token}`, 'Content-Type': 'application/json', ...condition },
      body: content,
      seconds: UPLOAD_SECONDS,
    });
  }

  async #renew(): Promise<void> {
    this.#info = await readInfo(this.#access);
    const now = (await this.#access.askTime()) ?? this.#info.now;
    this.#ahead = now === undefined ? 0 : now - this.#access.clock();
  }

  #pause({ headers }: Response): Promise<void> {
    const wished = Number(headers.get('Retry-After') ?? Number.NaN);
    const seconds = wished >= 0 ? Math.min(wished, LONGEST_PAUSE_SECONDS) : SHORT_PAUSE_SECONDS;
    return this.#access.sleep(seconds * 1000, new AbortController().signal);
  }
}

async function readInfo({ fetch, hub }: HubAccess): Promise<HubInfo> {
  const response = await request(fetch, `${hub}/hub_info`);
  const { challenge_text: challenge, read_url_prefix: readPrefix } = await answerOf(response, 200, INFO);
  if (typeof challenge !== 'string' || typeof readPrefix !== 'string') {
    throw new BucketFailed(`${hostOf(hub)} does not answer as a Gaia hub.`);
  }
  const now = Math.floor(Date.parse(response.headers.get('Date') ?? '') / 1000);
  return { challenge, readPrefix, now: Number.isNaN(now) ? undefined : now };
}

async function answerOf(response: Response, expected: number, what: string): Promise<Record<string, unknown>> {
  const host = hostOf(response.url);
  const text = new TextDecoder().decode(await readBody(response, MAX_ANSWER_BYTES));
  if (response.status !== expected) {
    const { status } = response;
    const isForNow = what === INFO || !isRefusal(status, text);
    throw new BucketFailed(`The hub ${host} answered ${status} to ${what}${wordsOf(text)}`, { status, isForNow });
  }
  try {
    return parseObject(text);
  } catch {
    throw new BucketFailed(`The hub ${host} answered ${what} with what is not JSON.`);
  }
}

/** Whether the hub itself refused, and would again. A hub gives its reasons in JSON; a proxy's answer is temporary. */
function isRefusal(status: number, text: string): boolean {
  return status >= REFUSED && status < FAILED && !BUSY.includes(status) && isWholeJson(text);
}

/** The hub's own words, shortened and safe to show anywhere; empty for a web page. */
function wordsOf(text: string): string {
  let words: unknown = /^\s*</.test(text) ? '' : text;
  try {
    words = parseObject(text).message;
  } catch {
    // not JSON: as it is
  }
  const said = typeof words === 'string' ? words.replace(UNSAFE, ' ').trim() : '';
  if (said === '') return '.';
  return `: ${said.length > MAX_WORDS ? `${said.slice(0, MAX_WORDS)}…` : said}`;
}
