/** What is encrypted to the recipient and stored in the inbox: which message of which sender's bucket. */
import { equal, fromBase64Url, toBase64Url, toUtf8 } from './bytes.js';
import { decrypt, encrypt } from './ecies.js';
import type { Random } from './ecies.js';
import { CannotDecrypt } from './errors.js';
import { isOrigin, parseIdentity } from './identities.js';
import type { AppKey, PublicKey } from './keys.js';
import type { Pair } from './pairs.js';
import { isBytes } from './receipts.js';
import { parseObject } from './tokens.js';

/** `from` is a claim until the message's envelope is verified. */
export interface Pointer {
  id: string;
  from: string;
  app: string;
  /** The bucket's, with a slash at the end, where the sender is a bare key: no name leads to its bucket. */
  url?: string;
  /** Its place among all that this sender wrote to this recipient. Older clients do not say. */
  link?: Link;
}

/** Two devices of one sender may use a number twice. */
export interface Link {
  /** From 1. */
  n: number;
  /** The first 16 bytes of the hash of the pointer before, in base64url; of zeros where none is known. */
  prev: string;
  /** 16 bytes in base64url: one of the two made this pointer. */
  mac: string;
}

const POINTER_BYTES = 415; // encrypted with base64, always 816 characters: the size tells nothing
const MESSAGE_ID = /^[0-9a-f]{32}$/; // it becomes a path in the sender's bucket

/** With its padding. Throws `TypeError` when name and app are too long for it. */
export function pointerText({ id, from, app, url, link }: Pointer): string {
  const plain = JSON.stringify({ v: 1, id, from, app, url, ...link }); // without `url` where there is none
  if (toUtf8(plain).length > POINTER_BYTES) throw new TypeError(`The pointer has more than ${POINTER_BYTES} bytes.`);
  return plain.padEnd(POINTER_BYTES);
}

/** The opaque text that an inbox stores. `plain` is what `pointerText` made. */
export function encryptPointer(plain: string, to: PublicKey, random: Random): string {
  return encrypt(to, plain, random, 'base64');
}

export function linkOf(pair: Pair, n: number, prev: Uint8Array, id: string): Link {
  return { n, prev: toBase64Url(prev), mac: toBase64Url(pair.macOf(n, prev, id)) };
}

/** Whether one of the two made the pointer; a pointer without a link does not say. */
export function isOfPair({ id, link }: Pointer, pair: Pair): boolean {
  return !link || equal(pair.macOf(link.n, fromBase64Url(link.prev), id), fromBase64Url(link.mac));
}

/** Throws `CannotDecrypt` for what is not for this key, or no pointer of version 1. */
export function readMessageId(messageId: string, key: AppKey): Pointer {
  const plain = decrypt(key, messageId);
  try {
    const { v, id, from, app, url, ...more } = parseObject(String(plain));
    if (v === 1 && isMessageFile(id) && typeof from === 'string' && isOrigin(app)) {
      const { kind } = parseIdentity(from);
      const pointer = { id, from, app, ...readLink(more) };
      if (kind === 'key' && typeof url === 'string') return { ...pointer, url };
      if (kind !== 'address') return pointer;
    }
  } catch {
    // not JSON, or from nobody: the same as below
  }
  throw new CannotDecrypt('It is not a pointer of version 1.');
}

/** Whether this names a message in a bucket. */
export function isMessageFile(id: unknown): id is string {
  return typeof id === 'string' && MESSAGE_ID.test(id);
}

/** All three or none. */
function readLink({ n, prev, mac }: Record<string, unknown>): { link?: Link } {
  if (n === undefined && prev === undefined && mac === undefined) return {};
  if (!Number.isSafeInteger(n) || Number(n) < 1 || !isBytes(prev, 16) || !isBytes(mac, 16)) throw new TypeError('has no link');
  return { link: { n: Number(n), prev, mac } };
}
