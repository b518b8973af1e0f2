/**
 * Addresses of keys: base58check (buckets, and owners of old names) and c32check (Stacks owners).
 *
 * Both write the same 20 bytes, the hash160 of a public key, with a version and a checksum. A bucket's address is
 * base58check with version 0 over the hash of the *compressed* app key. Source: Bitcoin's base58, Stacks SIP-005.
 */
import { ripemd160 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';

import { concat, equal, fromHex, toHex } from './bytes.js';

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const C32 = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const MAINNET = 0;
const TESTNET = 111;
/** c32 versions of addresses that one key owns, and the base58 versions that mean the same. */
const SINGLE_KEY_C32 = new Map([
  [22, MAINNET],
  [26, TESTNET],
]);

export class NotAnAddress extends Error {
  override name = 'NotAnAddress';
}

/** RIPEMD-160 of SHA-256, 20 bytes. */
export function hash160(key: Uint8Array): Uint8Array {
  return ripemd160(sha256(key));
}

/** The bucket address of a compressed app public key, 33 bytes. */
export function appAddress(compressedKey: Uint8Array): string {
  const body = concat(Uint8Array.of(MAINNET), hash160(compressedKey));
  return writeBase58(concat(body, checksum(body)));
}

/** Whether this is a mainnet address of a single key, as every bucket has. */
export function isAppAddress(text: string): boolean {
  try {
    return readBase58Check(text)[0] === MAINNET;
  } catch {
    return false;
  }
}

/** The hash160 inside a name owner's address, c32 or base58, if one key can own it. Throws `NotAnAddress`. */
export function ownerHash(address: string): Uint8Array {
  const isC32 = /^s/i.test(address);
  const [version, digest] = isC32 ? readC32Check(address) : readBase58Check(address);
  const meant = isC32 ? SINGLE_KEY_C32.get(version) : version;
  if (meant !== MAINNET && meant !== TESTNET) throw new NotAnAddress('is not the address of a single key');
  return digest;
}

function readBase58Check(text: string): [number, Uint8Array] {
  if (text.length < 26 || text.length > 36) throw new NotAnAddress('has the wrong length');
  const zeros = /^1*/.exec(text)?.[0].length ?? 0;
  const hex = readNumber(text, BASE58).toString(16);
  const number = hex === '0' ? new Uint8Array(0) : fromHex(hex.length % 2 ? `0${hex}` : hex);
  const bytes = concat(new Uint8Array(zeros), number);
  if (bytes.length !== 25) throw new NotAnAddress('has the wrong length');
  const body = bytes.subarray(0, 21);
  if (!equal(checksum(body), bytes.subarray(21))) throw new NotAnAddress('has a wrong checksum');
  return [body[0] ?? -1, body.subarray(1)];
}

/** Upper and lower case, and O, L, I for 0, 1, 1, are accepted. */
function readC32Check(address: string): [number, Uint8Array] {
  if (!/^[0-9A-Za-z]{5,43}$/.test(address)) throw new NotAnAddress('has a character that no address has');
  const text = address.toUpperCase().replaceAll('O', '0').replace(/[LI]/g, '1');
  const version = C32.indexOf(text.charAt(1));
  const hex = readNumber(text.slice(2), C32).toString(16);
  if (version < 0 || hex.length > 48) throw new NotAnAddress('has the wrong length');
  const body = fromHex(hex.padStart(48, '0'));
  const digest = body.subarray(0, 20);
  if (!equal(checksum(concat(Uint8Array.of(version), digest)), body.subarray(20))) {
    throw new NotAnAddress('has a wrong checksum');
  }
  return [version, digest];
}

function checksum(body: Uint8Array): Uint8Array {
  return sha256(sha256(body)).subarray(0, 4);
}

function writeBase58(bytes: Uint8Array): string {
  const zeros = bytes.findIndex((byte) => byte !== 0);
  let number = BigInt(`0x${toHex(bytes)}`);
  let digits = '';
  for (; number > 0n; number /= 58n) digits = BASE58.charAt(Number(number % 58n)) + digits;
  return '1'.repeat(zeros) + digits;
}

function readNumber(text: string, alphabet: string): bigint {
  let number = 0n;
  for (const character of text) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) throw new NotAnAddress('has a character that no address has');
    number = number * BigInt(alphabet.length) + BigInt(digit);
  }
  return number;
}
