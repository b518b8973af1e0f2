/** Who takes part: BNS names, app public keys, and app addresses; and web origins. */
import { isAppAddress } from './addresses.js';
import { PublicKey } from './keys.js';

/** A recipient may be any of the three, a sender a name or a key. */
export type Identity =
  | { kind: 'name'; text: string }
  | { kind: 'key'; text: string; key: PublicKey }
  | { kind: 'address'; text: string };

// Labels as BNS version 1 and 2 allow them; two labels are a name, three a subdomain. A key or an address has no dot.
const NAME = /^[a-z0-9_+-]{1,48}(\.[a-z0-9_+-]{1,48}){1,2}$/;
const ORIGIN = /^(https?):\/\/(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?$/;
const MAX_ORIGIN_CHARACTERS = 260; // a host name has at most 253 characters

/** Throws `TypeError` when the text names nobody. */
export function parseIdentity(text: string): Identity {
  if (NAME.test(text)) return { kind: 'name', text };
  if (isAppAddress(text)) return { kind: 'address', text };
  try {
    return { kind: 'key', text, key: PublicKey.parse(text) };
  } catch {
    throw new TypeError('That is neither a name such as alice.id, nor an app public key, nor an app address.');
  }
}

/** Whether this is a web origin as browsers write it: scheme, host, port if unusual, no slash at the end. */
export function isOrigin(text: unknown): text is string {
  if (typeof text !== 'string' || text.length > MAX_ORIGIN_CHARACTERS) return false;
  const match = ORIGIN.exec(text);
  if (match === null) return false;
  const port = Number(match[2] ?? 0);
  return port <= 65535 && port !== (match[1] === 'https' ? 443 : 80);
}
