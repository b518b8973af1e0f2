/**
 * Encryption to an app key and signed envelopes, byte for byte as `@stacks/encryption` has them.
 *
 * ECDH on secp256k1 (x coordinate only), SHA-512 of it split into an AES-256-CBC key and an HMAC-SHA256 key; the MAC
 * covers IV, ephemeral key and cipher text. It hides; it does not say who wrote: the envelope's signature does.
 */
import { cbc } from '@noble/ciphers/aes.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';

import { concat, equal, fromBase64, fromHex, fromUtf8, isBytes, toBase64, toHex, toUtf8 } from './bytes.js';
import { CannotDecrypt, NotAuthentic } from './errors.js';
import { AppKey, PublicKey } from './keys.js';

/** A message: text, or bytes. It comes out as what went in. */
export type Content = string | Uint8Array;
/** As many random bytes as asked for. */
export type Random = (length: number) => Uint8Array;

const IV_BYTES = 16;

/** Throws `TypeError` for what is no content, and for a string with half of a character: it has no bytes, and would come out as another. */
export function checkContent(content: unknown): void {
  if (typeof content !== 'string' && !isBytes(content)) {
    throw new TypeError('The message must be a string or a `Uint8Array`. Turn anything else into one of them, such as with `JSON.stringify`.');
  }
  if (typeof content === 'string' && /\p{Surrogate}/u.test(content)) {
    throw new TypeError('The message has half of a surrogate pair in it, as a text cut within a character has. Cut between characters.');
  }
}

/** `ephemeral` is a new key, except where the writer wants to read it again with `decryptAs`. */
export function encrypt(
  to: PublicKey,
  content: Content,
  random: Random,
  encoding: 'hex' | 'base64' = 'hex',
  ephemeral: AppKey = new AppKey(random(32)),
): string {
  const iv = random(IV_BYTES);
  const [cipherKey, macKey] = keysFrom(ephemeral, to.compressed);
  const cipherText = cbc(cipherKey, iv).encrypt(typeof content === 'string' ? toUtf8(content) : content);
  const members = {
    iv: toHex(iv),
    ephemeralPK: ephemeral.public.hex,
    cipherText: encoding === 'base64' ? toBase64(cipherText) : toHex(cipherText),
    mac: toHex(hmac(sha256, macKey, concat(iv, ephemeral.public.compressed, cipherText))),
    wasString: typeof content === 'string',
  };
  return JSON.stringify(encoding === 'base64' ? { ...members, cipherTextEncoding: 'base64' } : members);
}

/** What was encrypted to `key`. Throws `CannotDecrypt`. */
export function decrypt(key: AppKey, text: string): Content {
  return decryptWith(text, (ephemeral) => keysFrom(key, ephemeral));
}

/** The same for the one who wrote it, with the ephemeral key that was used. */
export function decryptAs(ephemeral: AppKey, to: PublicKey, text: string): Content {
  return decryptWith(text, () => keysFrom(ephemeral, to.compressed));
}

type Keys = [Uint8Array, Uint8Array];

function decryptWith(text: string, keysFor: (ephemeral: Uint8Array) => Keys): Content {
  try {
    const members = JSON.parse(text);
    const plain = open(keysFor, members);
    return members.wasString === true ? fromUtf8(plain) : plain;
  } catch {
    throw new CannotDecrypt('It is not encrypted to this key, or was changed.');
  }
}

function open(keysFor: (ephemeral: Uint8Array) => Keys, members: Record<string, unknown>): Uint8Array {
  const [iv, ephemeral, mac] = [fromHex(members.iv), fromHex(members.ephemeralPK), fromHex(members.mac)];
  const isBase64 = members.cipherTextEncoding === 'base64';
  const cipherText = isBase64 ? fromBase64(String(members.cipherText)) : fromHex(members.cipherText);
  const [cipherKey, macKey] = keysFor(ephemeral);
  if (!equal(hmac(sha256, macKey, concat(iv, ephemeral, cipherText)), mac)) throw new TypeError('wrong MAC');
  return cbc(cipherKey, iv).decrypt(cipherText);
}

/** The signed envelope around an encrypted text, as `encryptContent` makes it with `sign`. */
export function signEnvelope(key: AppKey, encrypted: string): string {
  const signature = toHex(key.signDer(toUtf8(encrypted)));
  return JSON.stringify({ signature, publicKey: key.public.hex, cipherText: encrypted });
}

/**
 * The key that signed, and the encrypted text. The signature is checked; whose key it is, is the caller's to check.
 * Throws `NotAuthentic`.
 */
export function openEnvelope(envelope: string): { signer: PublicKey; encrypted: string } {
  let signer: PublicKey, encrypted: unknown, signature: Uint8Array;
  try {
    const members = JSON.parse(envelope);
    [signer, encrypted, signature] = [PublicKey.parse(members.publicKey), members.cipherText, fromHex(members.signature)];
  } catch {
    throw new NotAuthentic('The message is not a signed envelope.');
  }
  if (typeof encrypted !== 'string' || !signer.signedDer(toUtf8(encrypted), signature)) {
    throw new NotAuthentic('The signature of the message does not hold.');
  }
  return { signer, encrypted };
}

function keysFrom(own: AppKey, other: Uint8Array): Keys {
  const digest = sha512(own.sharedX(other));
  return [digest.subarray(0, 32), digest.subarray(32)];
}
