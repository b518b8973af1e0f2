/** secp256k1 keys: an app's own private key, and the public keys of others. */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';

import { appAddress } from './addresses.js';
import { fromHex, toHex } from './bytes.js';

const COMPRESSED_HEX = /^0[23][0-9a-f]{64}$/;

/** The text or the bytes are no key. */
export class NotAKey extends Error {
  override name = 'NotAKey';
}

/** An app public key. Two are equal when their `hex` is. */
export class PublicKey {
  /** 66 hex characters. */
  readonly hex: string;
  /** The address of the bucket that belongs to this key. */
  readonly address: string;
  readonly compressed: Uint8Array;

  /** From 33 compressed or 65 uncompressed bytes. Throws `NotAKey`. */
  constructor(raw: Uint8Array) {
    try {
      const point = secp256k1.Point.fromBytes(raw);
      point.assertValidity();
      this.compressed = point.toBytes(true);
    } catch {
      throw new NotAKey('is not a point on the curve');
    }
    this.hex = toHex(this.compressed);
    this.address = appAddress(this.compressed);
  }

  /** From 66 lower-case hex characters, the only form that tokens may use. Throws `NotAKey`. */
  static parse(text: unknown): PublicKey {
    if (typeof text !== 'string' || !COMPRESSED_HEX.test(text)) throw new NotAKey('is not 66 hex characters');
    return new PublicKey(fromHex(text));
  }

  /** Whether `signature`, 64 bytes, is this key's over SHA-256 of the message; either half of S is taken. */
  signed(message: Uint8Array, signature: Uint8Array): boolean {
    try {
      return secp256k1.verify(signature, message, this.compressed, { lowS: false });
    } catch {
      return false; // not 64 bytes, or numbers that no signature has
    }
  }

  /** The same for a DER signature. */
  signedDer(message: Uint8Array, signature: Uint8Array): boolean {
    try {
      return secp256k1.verify(signature, message, this.compressed, { lowS: false, format: 'der' });
    } catch {
      return false;
    }
  }

  /** Uncompressed, 65 bytes: old owner addresses are hashes of this form. */
  get uncompressed(): Uint8Array {
    return secp256k1.Point.fromBytes(this.compressed).toBytes(false);
  }
}

/** An app's private key: made by the user's wallet, kept by the app, never sent anywhere. */
export class AppKey {
  readonly public: PublicKey;
  readonly #secret: Uint8Array;
  readonly #shared = new Map<string, Uint8Array>();

  /** 32 bytes. Throws `NotAKey`. */
  constructor(secret: Uint8Array) {
    try {
      this.public = new PublicKey(secp256k1.getPublicKey(secret, true));
    } catch {
      throw new NotAKey('an app private key has 32 bytes');
    }
    this.#secret = secret;
  }

  /** 64 hex characters, or 66 that end with 01 ("compressed", as wallets write it). Throws `NotAKey`. */
  static parse(text: string): AppKey {
    if (!/^[0-9a-fA-F]{64}(01)?$/.test(text)) throw new NotAKey('an app private key has 64 hex characters');
    return new AppKey(fromHex(text.slice(0, 64)));
  }

  /** ECDSA over SHA-256 of the message: 64 bytes, low S. */
  sign(message: Uint8Array): Uint8Array {
    return secp256k1.sign(message, this.#secret);
  }

  signDer(message: Uint8Array): Uint8Array {
    return secp256k1.sign(message, this.#secret, { format: 'der' });
  }

  /** HKDF-SHA256 of the private key, 32 bytes: what only the owner can derive, on each device. */
  derive(info: Uint8Array): Uint8Array {
    return hkdf(sha256, this.#secret, undefined, info, 32);
  }

  /** The x coordinate of the Diffie-Hellman point, 32 bytes, not hashed. Throws for what is not a key. */
  sharedX(other: Uint8Array): Uint8Array {
    return secp256k1.getSharedSecret(this.#secret, other, true).subarray(1);
  }

  /** The same with somebody whom this key meets again, in hex: it is computed once. */
  sharedWith(other: string): Uint8Array {
    const shared = this.#shared.get(other) ?? this.sharedX(PublicKey.parse(other).compressed);
    this.#shared.set(other, shared);
    return shared;
  }
}
