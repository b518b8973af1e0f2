/**
 * Profiles: what a name's owner signed about buckets and app keys.
 *
 * A profile file is a JSON array; element 0 holds a token (a JWS by the owner's key) and, beside it, a decoded copy that
 * nobody signed and that is never read. Its expiry is enforced by no client, so not here either. Source: stacks.js
 * `profileTokens.ts`.
 */
import { hash160, isAppAddress, ownerHash } from './addresses.js';
import { equal, fromHex } from './bytes.js';
import { NotProven, Unreachable } from './errors.js';
import { PublicKey } from './keys.js';
import { isWholeJson, parseToken } from './tokens.js';

export const MAX_PROFILE_BYTES = 256 * 1024;

/** One app's bucket in a profile. `url` ends with a slash; `statedKey` is not yet checked. */
export interface Stated {
  url: string;
  address: string;
  statedKey: string | undefined;
}

// Visible ASCII without `?`, `#` and backslash. The address is the whole last segment, not the last thing that looks so.
const BUCKET_URL = /^https?:\/\/[A-Za-z0-9._-]+(?::[0-9]{1,5})?\/(?:[!"$->@-[\]-~]*\/)?([0-9A-Za-z]+)\/*$/;

/** The claim of a profile that a key of `owner`, an address, signed. Throws `NotProven`, or `Unreachable` if it is not whole. */
export function readProfile(text: string, owner: string): Record<string, unknown> {
  if (!isWholeJson(text)) throw new Unreachable('The profile is not whole: it may just be written.');
  const { signer, claim } = openProfile(text);
  let expected: Uint8Array;
  try {
    expected = ownerHash(owner);
  } catch {
    throw new NotProven('The owner of the name is not the address of a single key, so no profile can be checked.');
  }
  if (![signer.compressed, signer.uncompressed].some((form) => equal(hash160(form), expected))) {
    throw new NotProven('The profile is not signed by a key of the owner of the name.');
  }
  return claim;
}

/** The bucket that a profile gives an app. Throws `NotProven`. */
export function findBucket(claim: Record<string, unknown>, app: string): Stated {
  const url = memberOf(claim.apps, app);
  if (typeof url !== 'string') {
    throw new NotProven('The profile names no bucket for this app. Sign in to the app with `publish_data`.');
  }
  const address = BUCKET_URL.exec(url)?.[1] ?? '';
  if (!isAppAddress(address)) throw new NotProven("The profile's bucket for this app does not end with an address.");
  const statedKey = memberOf(memberOf(claim.appsMeta, app), 'publicKey');
  return { url: `${url.replace(/\/+$/, '')}/`, address, statedKey: typeof statedKey === 'string' ? statedKey : undefined };
}

function openProfile(text: string): { signer: PublicKey; claim: Record<string, unknown> } {
  try {
    const { header, claims, signed, signature } = parseToken(JSON.parse(text)[0].token);
    const signer = new PublicKey(fromHex(memberOf(claims.issuer, 'publicKey')));
    const isWhole = isObject(claims.claim) && memberOf(claims.subject, 'publicKey') !== undefined;
    if (header.alg === 'ES256K' && isWhole && signer.signed(signed, signature)) {
      return { signer, claim: claims.claim as Record<string, unknown> };
    }
  } catch {
    // what cannot be read proves nothing, like what is not signed
  }
  throw new NotProven('The profile is not an array whose first element holds a well-signed ES256K token.');
}

function memberOf(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
