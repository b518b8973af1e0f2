/** Whom the own sheets of tickets are for: one file in the own bucket, which all devices of the owner share. */
import type { OwnBucket } from './bucket.js';
import { decrypt, encrypt, openEnvelope, signEnvelope } from './ecies.js';
import type { Random } from './ecies.js';
import { Absent, BucketFailed, CannotDecrypt, NotAuthentic, Unreachable } from './errors.js';
import type { AppKey } from './keys.js';
import { getFile } from './requests.js';
import type { Fetch } from './requests.js';
import type { Sealed } from './tickets.js';
import { isWholeJson, parseObject } from './tokens.js';

export interface SheetSet extends Sealed {
  /** Keys in hex, in ascending order. */
  contacts: string[];
  /** Addresses of those who are left out because they are blocked. */
  blocked: string[];
}

export interface SheetFileOptions {
  key: AppKey;
  fetch: Fetch;
  random: Random;
  bucket: () => Promise<OwnBucket>;
}

const FILE = 'sheets.json';
const MAX_BYTES = 1 << 20; // for more contacts than sheets have room for
const PAD_BYTES = 4096; // so that the size of the file does not tell how many contacts there are
const IS_OTHER = 412;
const TRIES = 4; // as many devices may change it at once

export class SheetFile {
  readonly #options: SheetFileOptions;

  constructor(options: SheetFileOptions) {
    this.#options = options;
  }

  /** What `change` makes of what is there now, which other devices change, too. Throws `BucketFailed` or `Unreachable`. */
  async update(change: (known: SheetSet | undefined) => SheetSet): Promise<SheetSet> {
    const { key, random } = this.#options;
    const bucket = await this.#options.bucket();
    for (let tries = 1; ; tries += 1) {
      const { known, etag } = await this.#read(bucket);
      const changed = change(known);
      if (changed === known) return known;
      const plain = JSON.stringify({ v: 1, ...changed });
      const padded = plain.padEnd(Math.ceil(plain.length / PAD_BYTES) * PAD_BYTES);
      try {
        const content = signEnvelope(key, encrypt(key.public, padded, random, 'base64'));
        await bucket.write(FILE, content, known ? { etag } : { isNew: true });
        return changed;
      } catch (error) {
        const isOther = error instanceof BucketFailed && error.status === IS_OTHER;
        if (!isOther || tries === TRIES) throw error;
      }
    }
  }

  async #read({ url }: OwnBucket): Promise<{ known?: SheetSet; etag?: string | undefined }> {
    try {
      const { text, etag } = await getFile(this.#options.fetch, url + FILE, { maxBytes: MAX_BYTES });
      if (!isWholeJson(text)) throw new Unreachable('The list of contacts in the own bucket is not whole: it may just be written.');
      return { known: readSheetSet(text, this.#options.key), etag };
    } catch (error) {
      if (!(error instanceof Absent)) throw error;
      return {};
    }
  }
}

/** Throws `BucketFailed` for what the owner did not write. */
function readSheetSet(text: string, key: AppKey): SheetSet {
  try {
    const { signer, encrypted } = openEnvelope(text);
    const { v, per, edition, contacts, blocked } = parseObject(String(decrypt(key, encrypted)));
    const isWhole = [per, edition].every(Number.isSafeInteger) && Array.isArray(contacts) && Array.isArray(blocked);
    if (signer.hex === key.public.hex && v === 1 && isWhole) {
      return { per: Number(per), edition: Number(edition), contacts: contacts.map(String), blocked: blocked.map(String) };
    }
  } catch (error) {
    const isOther = error instanceof NotAuthentic || error instanceof CannotDecrypt || error instanceof TypeError || error instanceof SyntaxError;
    if (!isOther) throw error;
  }
  throw new BucketFailed('The list of contacts in the own bucket is not what this key wrote.', { isForNow: false });
}
