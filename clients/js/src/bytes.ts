/** Bytes as the texts that the protocol writes them in: UTF-8, hex, base64, and base64url without padding. */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';

export { concatBytes as concat } from '@noble/hashes/utils.js';

export type Bytes = Uint8Array<ArrayBuffer>;

const HEX = /^(?:[0-9a-f]{2})*$/i;
const BASE64URL = /^[A-Za-z0-9_-]*$/;
const CHUNK = 0x8000; // how many arguments a function call is sure to take

export function toUtf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** Throws `TypeError` for what is not UTF-8. A byte-order mark stays. */
export function fromUtf8(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
}

export function toHex(bytes: Uint8Array): string {
  return bytesToHex(bytes);
}

/** Throws `TypeError` for what is not hex. */
export function fromHex(text: unknown): Bytes {
  if (typeof text !== 'string' || !HEX.test(text)) throw new TypeError('is not hex');
  return new Uint8Array(hexToBytes(text));
}

export function toBase64(bytes: Uint8Array): string {
  let characters = '';
  for (let at = 0; at < bytes.length; at += CHUNK) {
    characters += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  }
  return btoa(characters);
}

/** Throws for what is not base64. */
export function fromBase64(text: string): Bytes {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Only the one canonical form, for a token has one meaning. Throws `TypeError`. */
export function fromBase64Url(text: string): Bytes {
  if (!BASE64URL.test(text) || text.length % 4 === 1) throw new TypeError('is not base64url');
  const bytes = fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'));
  if (toBase64Url(bytes) !== text) throw new TypeError('is not canonical base64url');
  return bytes;
}

/** Whether both are the same, in a time that does not tell where they differ. */
export function equal(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  one.forEach((byte, at) => (difference |= byte ^ (other[at] ?? 0)));
  return difference === 0;
}
