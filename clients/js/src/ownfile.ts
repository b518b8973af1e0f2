/** A file in the own bucket that all devices of the owner share: encrypted to the owner's own key, and signed. */
import type { OwnBucket } from './bucket.js';
import { decrypt, encrypt, openEnvelope, signEnvelope } from './ecies.js';
import type { Random } from './ecies.js';
import { Absent, BucketFailed, CannotDecrypt, NotAuthentic } from './errors.js';
import type { AppKey } from './keys.js';
import { getFile } from './requests.js';
import type { Fetch } from './requests.js';
import { isWholeJson, parseObject } from './tokens.js';

export interface OwnFileOptions {
  key: AppKey;
  fetch: Fetch;
  random: Random;
  bucket: () => Promise<OwnBucket>;
}

export interface Form<T> {
  name: string;
  maxBytes: number;
  /** So that the size does not tell how much is in it. */
  padBytes?: number;
  /** Of what was decrypted, without unknown members. Throws `TypeError`. */
  read: (members: Record<string, unknown>) => T;
}

/** The file is not what this key wrote. */
export class BadOwnFile extends BucketFailed {}

const VERSION = 1;
const IS_OTHER = 412;
const TRIES = 4; // as many devices may change it at once

export class OwnFile<T extends object> {
  readonly #options: OwnFileOptions;
  readonly #form: Form<T>;

  constructor(options: OwnFileOptions, form: Form<T>) {
    this.#options = options;
    this.#form = form;
  }

  /** `known` is undefined where there is no file. Throws `BucketFailed`, of which `BadOwnFile` is one, or `Unreachable`. */
  async read(): Promise<{ known?: T | undefined }> {
    return this.#find(false);
  }

  async #find(takesBad: boolean): Promise<{ known?: T | undefined; etag?: string | undefined; isThere: boolean }> {
    const { name, maxBytes } = this.#form;
    const { url } = await this.#options.bucket();
    const file = await getFile(this.#options.fetch, url + name, { maxBytes }).catch(unlessAbsent);
    if (!file) return { isThere: false };
    const { text, etag } = file;
    try {
      if (!isWholeJson(text)) throw new BadOwnFile(`${name} in your bucket is not whole: it is damaged, or just being written.`);
      return { known: readOwn(text, this.#options.key, this.#form), etag, isThere: true };
    } catch (error) {
      if (!takesBad || !(error instanceof BadOwnFile)) throw error;
      return { etag, isThere: true };
    }
  }

  /**
   * Write what `change` makes of what is there now, unless it is the same. Where `replacesBad`, a file that is damaged is
   * as good as none. Throws `BucketFailed` or `Unreachable`.
   */
  async update<Changed extends T | undefined>(change: (known: T | undefined) => Changed, { replacesBad = false } = {}): Promise<Changed> {
    const { key, random, bucket } = this.#options;
    const { name, padBytes = 1 } = this.#form;
    for (let tries = 1; ; tries += 1) {
      const { known, etag, isThere } = await this.#find(replacesBad);
      const changed = change(known);
      if (changed === known) return changed;
      const plain = JSON.stringify({ v: VERSION, ...changed });
      const padded = plain.padEnd(Math.ceil(plain.length / padBytes) * padBytes);
      try {
        const content = signEnvelope(key, encrypt(key.public, padded, random, 'base64'));
        await (await bucket()).write(name, content, isThere ? { etag } : { isNew: true });
        return changed;
      } catch (error) {
        const isOther = error instanceof BucketFailed && error.status === IS_OTHER;
        if (!isOther || tries === TRIES) throw error;
      }
    }
  }
}

function unlessAbsent(error: unknown): undefined {
  if (!(error instanceof Absent)) throw error;
}

/** Throws `BadOwnFile` for what the owner did not write, and `BucketFailed` for what a later client did. */
export function readOwn<T>(text: string, key: AppKey, { name, read }: Form<T>): T {
  try {
    const { signer, encrypted } = openEnvelope(text);
    const { v, ...members } = parseObject(String(decrypt(key, encrypted)));
    if (signer.hex === key.public.hex && v === VERSION) return read(members);
    if (signer.hex === key.public.hex && Number(v) > VERSION) throw new BucketFailed(`${name} in your bucket is of a later version: update this client.`, { isForNow: false });
  } catch (error) {
    const isOther = error instanceof NotAuthentic || error instanceof CannotDecrypt || error instanceof TypeError || error instanceof SyntaxError;
    if (!isOther) throw error;
  }
  throw new BadOwnFile(`${name} in your bucket is not what this key wrote, or damaged.`, { isForNow: false });
}
