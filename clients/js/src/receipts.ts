/** Receipts: an inbox server's signature that it took a delivery, and the Merkle path from the delivery to what it signed. */
import { sha256 } from '@noble/hashes/sha2.js';

import { be64, concat, fromBase64Url, toBase64Url, toUtf8 } from './bytes.js';
import { PublicKey } from './keys.js';
import { parseToken } from './tokens.js';
import type { UnixTime } from './tokens.js';

/** As a server answers it. */
export interface SignedReceipt {
  token: string;
  salt: string;
  path: string[];
}

/** What a receipt must be about. */
export interface Taken {
  /** The server's origin. */
  inbox: string;
  /** The server's receipt key as it is on the recipient's card, 66 hex characters. */
  key: string;
  /** The recipient's app address. */
  address: string;
  /** As it is listed: base64url of 32 bytes. */
  id: string;
  expires: UnixTime;
}

const RECEIPT_TYPE = 'inbox-receipt+jwt';
const LABEL = 'message-inbox-receipt';
const LEVELS = 9; // always as many, so that a receipt does not tell how many were in its commit
const SALT_BYTES = 16;
const HASH_BYTES = 32;
// The last character has bits to spare, which are 0 in the canonical form.
const BYTES_16 = /^[A-Za-z0-9_-]{21}[AQgw]$/;
const BYTES_32 = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** The receipt does not prove what it should; the message says why. */
export class BadReceipt extends Error {
  override name = 'BadReceipt';
}

export function leafOf(salt: Uint8Array, { address, id, expires }: Pick<Taken, 'address' | 'id' | 'expires'>): Uint8Array {
  const parts = [toUtf8(LABEL), salt, toUtf8(address), Uint8Array.of(0), fromBase64Url(id), be64(expires)];
  return sha256(concat(Uint8Array.of(0), ...parts));
}

/** The smaller child comes first, so a path needs no index. */
export function nodeOf(one: Uint8Array, other: Uint8Array): Uint8Array {
  const [smaller, larger] = isSmaller(one, other) ? [one, other] : [other, one];
  return sha256(concat(Uint8Array.of(1), smaller, larger));
}

/** The UTC day on which the server says that it has the delivery. Throws `BadReceipt`. */
export function verifyReceipt(receipt: unknown, taken: Taken): number {
  if (!isReceipt(receipt)) throw new BadReceipt('It has not the form of a receipt.');
  const { inbox, key, expires } = taken;
  if (!Number.isSafeInteger(expires)) throw new BadReceipt('The delivery has no end of its life.');
  const claims = claimsOf(receipt.token, RECEIPT_TYPE, key);
  if (!claims) throw new BadReceipt("It is not signed by the server's receipt key, as the recipient's card names it.");
  if (claims.iss !== inbox) throw new BadReceipt('It is of another server.');
  const root = receipt.path.map((each) => fromBase64Url(each)).reduce(nodeOf, leafOf(fromBase64Url(receipt.salt), taken));
  if (claims.root !== toBase64Url(root)) throw new BadReceipt('It is for another delivery.');
  if (!Number.isSafeInteger(claims.day)) throw new BadReceipt('It has no day.');
  return Number(claims.day);
}

/** Whether this has the form of a receipt; whether it proves anything, `verifyReceipt` says. */
export function isReceipt(value: unknown): value is SignedReceipt {
  const { token, salt, path } = Object(value) as Record<string, unknown>;
  const isPath = Array.isArray(path) && path.length === LEVELS && path.every((each) => isBytes(each, HASH_BYTES));
  return typeof token === 'string' && isBytes(salt, SALT_BYTES) && isPath;
}

/** The claims of a token of this type that a receipt key signed; undefined for any other text. */
export function claimsOf(token: unknown, type: string, key: string): Record<string, unknown> | undefined {
  try {
    const { header, claims, signed, signature } = parseToken(token);
    const isOne = header.typ === type && header.alg === 'ES256K' && Object.keys(header).length === 2;
    return isOne && PublicKey.parse(key).signed(signed, signature) ? claims : undefined;
  } catch {
    return undefined;
  }
}

/** Whether this is canonical base64url of so many bytes. Not decoded: an audit asks this 100,000 times. */
export function isBytes(text: unknown, length: 16 | 32): text is string {
  return typeof text === 'string' && (length === 16 ? BYTES_16 : BYTES_32).test(text);
}

function isSmaller(one: Uint8Array, other: Uint8Array): boolean {
  const at = one.findIndex((byte, index) => byte !== other[index]);
  return at >= 0 && (one[at] ?? 0) < (other[at] ?? 0);
}
