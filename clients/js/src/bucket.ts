/** The own Gaia bucket: written through a hub with a token of the bucket's key, read by anyone. */
import { fromUtf8 } from './bytes.js';
import { BucketFailed } from './errors.js';
import type { Random } from './ecies.js';
import type { AppKey } from './keys.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch } from './requests.js';
import { hubToken, parseObject } from './tokens.js';

const MAX_ANSWER_BYTES = 64 * 1024;
const UPLOAD_SECONDS = 60;

export class OwnBucket {
  /** The public URL, with a slash at the end. */
  readonly url: string;
  /** The hub's: with an address and a slash after it, any bucket of the hub. */
  readonly readPrefix: string;
  readonly #fetch: Fetch;
  readonly #hub: string;
  readonly #address: string;
  readonly #token: string;

  private constructor(fetch: Fetch, hub: string, readPrefix: string, address: string, token: string) {
    this.url = `${readPrefix}${address}/`;
    this.readPrefix = readPrefix;
    this.#fetch = fetch;
    this.#hub = hub;
    this.#address = address;
    this.#token = token;
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  static async open(fetch: Fetch, hub: string, key: AppKey, random: Random): Promise<OwnBucket> {
    const info = await answerOf(await request(fetch, `${hub}/hub_info`), 200, 'hub_info');
    const { challenge_text: challenge, read_url_prefix: readPrefix } = info;
    if (typeof challenge !== 'string' || typeof readPrefix !== 'string') {
      throw new BucketFailed(`${hostOf(hub)} does not answer as a Gaia hub.`);
    }
    const token = hubToken(key, hub, challenge, random(16));
    return new OwnBucket(fetch, hub, readPrefix, key.public.address, token);
  }

  /** Store a file, over an older one if there is one; its public URL. Throws `BucketFailed` or `Unreachable`. */
  async write(path: string, content: string): Promise<string> {
    const response = await request(this.#fetch, `${this.#hub}/store/${this.#address}/${path}`, {
      method: 'POST',
      headers: { Authorization: `bearer ${this.#token}`, 'Content-Type': 'application/json' },
      body: content,
      seconds: UPLOAD_SECONDS,
    });
    const { publicURL } = await answerOf(response, 202, `storing ${path}`);
    return String(publicURL);
  }
}

async function answerOf(response: Response, expected: number, what: string): Promise<Record<string, unknown>> {
  const host = hostOf(response.url);
  if (response.status !== expected) {
    await response.body?.cancel();
    throw new BucketFailed(`The hub ${host} answered ${response.status} to ${what}.`);
  }
  const body = await readBody(response, MAX_ANSWER_BYTES);
  try {
    return parseObject(fromUtf8(body));
  } catch {
    throw new BucketFailed(`The hub ${host} answered ${what} with what is not JSON.`);
  }
}
