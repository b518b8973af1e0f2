/** What is encrypted to the recipient and stored in the inbox: which message of which sender's bucket. */
import { toUtf8 } from './bytes.js';
import { decrypt, encrypt } from './ecies.js';
import type { Random } from './ecies.js';
import { CannotDecrypt } from './errors.js';
import { isOrigin, parseIdentity } from './identities.js';
import type { AppKey, PublicKey } from './keys.js';
import { parseObject } from './tokens.js';

/** `from` is a claim until the message's envelope is verified. */
export interface Pointer {
  id: string;
  from: string;
  app: string;
  /** The bucket's, with a slash at the end, where the sender is a bare key: no name leads to its bucket. */
  url?: string;
}

const POINTER_BYTES = 415; // encrypted with base64, always 816 characters: the size tells nothing
const MESSAGE_ID = /^[0-9a-f]{32}$/; // it becomes a path in the sender's bucket

/** The opaque text that an inbox stores. Throws `TypeError` when name and app are too long for it. */
export function makeMessageId(pointer: Pointer, to: PublicKey, random: Random): string {
  const { id, from, app, url } = pointer;
  const plain = JSON.stringify({ v: 1, id, from, app, url }); // without `url` where there is none
  if (toUtf8(plain).length > POINTER_BYTES) throw new TypeError(`The pointer has more than ${POINTER_BYTES} bytes.`);
  return encrypt(to, plain.padEnd(POINTER_BYTES), random, 'base64');
}

/** Throws `CannotDecrypt` for what is not for this key, or no pointer of version 1. */
export function readMessageId(messageId: string, key: AppKey): Pointer {
  const plain = decrypt(key, messageId);
  try {
    const { v, id, from, app, url } = parseObject(String(plain));
    if (v === 1 && typeof id === 'string' && MESSAGE_ID.test(id) && typeof from === 'string' && isOrigin(app)) {
      const { kind } = parseIdentity(from);
      if (kind === 'key' && typeof url === 'string') return { id, from, app, url };
      if (kind !== 'address') return { id, from, app };
    }
  } catch {
    // not JSON, or from nobody: the same as below
  }
  throw new CannotDecrypt('It is not a pointer of version 1.');
}
