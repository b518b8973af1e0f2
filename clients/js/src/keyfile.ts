/**
 * App public keys as apps have written them into buckets: seven shapes, each seen in the wild.
 *
 * A key file is only a hint at which key to try: a key counts when it hashes to the address of the bucket.
 */
import { fromHex } from './bytes.js';
import { PublicKey } from './keys.js';
import { isWholeJson } from './tokens.js';

export const MAX_KEY_FILE_BYTES = 4096;
/** In the order of how common they are. The first is where this client writes its own. */
export const KEY_FILES = [
  'key.json',
  'public_key.json',
  'publicKey.json',
  'pubKey.json',
  'pk.txt',
  'key.txt',
  'public_key.txt',
] as const;
const MEMBERS = ['appPublicKey', 'publicKey', 'pubKey', 'public_key', 'key'];
const ALL_DIGITS = /^[1-9][0-9]{64}$/; // a key written as a number; its leading zero is lost

/** The key in a file of the bucket at `address`, or undefined when there is none that hashes to it. */
export function readKeyFile(text: string, address: string): PublicKey | undefined {
  const trimmed = text.replace(/^\uFEFF/, '').trim();
  if (ALL_DIGITS.test(trimmed)) return checkKey(`0${trimmed}`, address);
  let written: unknown = trimmed;
  try {
    written = JSON.parse(trimmed);
  } catch {
    // bare hex is not JSON
  }
  if (typeof written === 'object' && written !== null) {
    const members = written as Record<string, unknown>;
    written = MEMBERS.map((name) => members[name]).find((value) => typeof value === 'string');
  }
  return typeof written === 'string' ? checkKey(written, address) : undefined;
}

/** Whether nothing was cut off it: whole JSON, or hex of a length that keys have. */
export function isWholeKeyFile(text: string): boolean {
  const trimmed = text.replace(/^\uFEFF/, '').trim();
  return isWholeJson(trimmed) || /^(0x)?([0-9a-f]{66}|[0-9a-f]{128}|[0-9a-f]{130})$/i.test(trimmed);
}

/** The key written as compressed, uncompressed or raw X and Y in hex, if it hashes to `address`. */
export function checkKey(text: string, address: string): PublicKey | undefined {
  let hex = text.trim().replace(/^0x/, '');
  if (hex.length === 128) hex = `04${hex}`; // X and Y alone, as Ethereum's libraries write it
  try {
    const key = new PublicKey(fromHex(hex));
    return key.address === address ? key : undefined;
  } catch {
    return undefined;
  }
}
