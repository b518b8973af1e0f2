/** Bytes as the texts that the protocol writes them in: UTF-8, hex, base64, and base64url without padding. */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';

/** `isBytes` also takes a `Uint8Array` of another window. */
export { concatBytes as concat, isBytes } from '@noble/hashes/utils.js';

export type Bytes = Uint8Array<ArrayBuffer>;

const HEX = /^(?:[0-9a-f]{2})*$/i;
// Two or three characters at the end stand for one byte or two, and the bits to spare are 0 in the canonical form.
const BASE64URL = /^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$/;
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
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = characters.charCodeAt(at); // `from` takes ten times as long
  return bytes;
}

export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Only the one canonical form, for a token has one meaning. Throws `TypeError`. */
export function fromBase64Url(text: string): Bytes {
  if (!BASE64URL.test(text)) throw new TypeError('is not canonical base64url');
  return fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'));
}

/** A whole number as eight bytes, the highest first. */
export function be64(value: number): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** Whether both are the same, in a time that does not tell where they differ. */
export function equal(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  one.forEach((byte, at) => (difference |= byte ^ (other[at] ?? 0)));
  return difference === 0;
}
