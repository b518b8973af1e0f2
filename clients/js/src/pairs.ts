/** What a sender and a recipient share without a word: keys derived from the Diffie-Hellman of their app keys. */
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

import { be64, concat, toHex, toUtf8 } from './bytes.js';
import { AppKey } from './keys.js';
import type { PublicKey } from './keys.js';
import type { UnixTime } from './tokens.js';

export const WEEK_SECONDS = 604_800;
const SHORT_BYTES = 16; // of a hash or an HMAC, where these are enough

export function weekOf(time: UnixTime): number {
  return Math.floor(time / WEEK_SECONDS);
}

/** The first 16 bytes of SHA-256 of a pointer's plain text with its padding: `prev` of the pair's next pointer. */
export function hashOfPointer(plain: string): Uint8Array {
  return sha256(toUtf8(plain)).subarray(0, SHORT_BYTES);
}

/** One direction: what `from` writes to `to`. */
export class Pair {
  readonly from: PublicKey;
  readonly to: PublicKey;
  readonly #shared: Uint8Array;

  private constructor(own: AppKey, from: PublicKey, to: PublicKey) {
    [this.from, this.to] = [from, to];
    this.#shared = own.sharedX((own.public.hex === from.hex ? to : from).compressed);
  }

  static to(recipient: PublicKey, own: AppKey): Pair {
    return new Pair(own, own.public, recipient);
  }

  static from(sender: PublicKey, own: AppKey): Pair {
    return new Pair(own, sender, own.public);
  }

  /** Says that one of the two made the pointer. 16 bytes. */
  macOf(n: number, prev: Uint8Array, id: string): Uint8Array {
    const key = this.#derive('message-inbox-pointer');
    const { compressed: from } = this.from;
    return hmac(sha256, key, concat(from, this.to.compressed, be64(n), prev, toUtf8(id))).subarray(0, SHORT_BYTES);
  }

  /** Where the index of a week lies in the sender's bucket. A hub cannot tell for whom it is. */
  indexPath(week: number): string {
    return `index/${toHex(this.#indexName(week))}.json`;
  }

  /**
   * The ephemeral key with which the index of a week is encrypted to its reader. It is derived, so that the writer can
   * read it, too: a device that lost everything, or another one, goes on with it.
   */
  indexKey(week: number): AppKey {
    return new AppKey(this.#derive('message-inbox-index-ephemeral', this.#indexName(week)));
  }

  #indexName(week: number): Uint8Array {
    return hmac(sha256, this.#derive('message-inbox-index'), concat(this.from.compressed, this.to.compressed, be64(week)));
  }

  #derive(info: string, more: Uint8Array = new Uint8Array()): Uint8Array {
    return hkdf(sha256, this.#shared, undefined, concat(toUtf8(info), more), 32);
  }
}
