/** What a client signs: compact ES256K tokens for inbox servers, for its hub, and as its card. No I/O. */
import { sha256 } from '@noble/hashes/sha2.js';

import { fromBase64Url, fromUtf8, toBase64Url, toHex, toUtf8 } from './bytes.js';
import type { AppKey } from './keys.js';

export const TOKEN_SECONDS = 300;
/** The longest that a server takes, so that a stream of events is seldom begun anew. */
export const READ_SECONDS = 3600;
/** A hub does not say what time it has, so a clock that is some minutes late must do. */
const HUB_SECONDS = 3600;

/** Seconds since 1970. */
export type UnixTime = number;
export type Scope = 'read' | 'ack' | 'settings';

export function signToken(key: AppKey, type: string, claims: object): string {
  const signed = [{ typ: type, alg: 'ES256K' }, claims].map((part) => toBase64Url(toUtf8(JSON.stringify(part)))).join('.');
  return `${signed}.${toBase64Url(key.sign(toUtf8(signed)))}`;
}

/** For `POST /v1/messages` with exactly this body. `sender` is a name, or the key itself in hex. */
export function deliverToken(
  key: AppKey,
  what: { sender: string; recipient: string; app: string; inbox: string; body: string; now: UnixTime },
): string {
  const { sender, recipient, app, inbox, body, now } = what;
  const claims = { iss: sender, sub: recipient, app, aud: inbox, digest: digestOf(body), iat: now, exp: now + TOKEN_SECONDS };
  const withKey = sender === key.public.hex ? claims : { ...claims, key: key.public.hex };
  return signToken(key, 'inbox-deliver+jwt', withKey);
}

/** For everything that an owner does. */
export function ownerToken(
  key: AppKey,
  what: { scope: Scope; app: string; inbox: string; body: string; now: UnixTime },
): string {
  const { scope, app, inbox, body, now } = what;
  const exp = now + (scope === 'read' ? READ_SECONDS : TOKEN_SECONDS);
  const claims = { iss: key.public.hex, app, aud: inbox, scope, iat: now, exp };
  return signToken(key, 'inbox-owner+jwt', scope === 'read' ? claims : { ...claims, digest: digestOf(body) });
}

/**
 * A version 1 token for a Gaia hub: a write key to the bucket, so it goes to that hub and nowhere else. It ends soon, and
 * has its time, for after `revoke-all` a hub takes those alone that are younger.
 */
export function hubToken(
  key: AppKey,
  what: { hubUrl: string; challenge: string; salt: Uint8Array; associationToken: string | undefined; now: UnixTime },
): string {
  const { hubUrl, challenge, salt, associationToken, now } = what;
  const claims = { gaiaChallenge: challenge, hubUrl, iss: key.public.hex, salt: toHex(salt), iat: now, exp: now + HUB_SECONDS };
  return `v1:${signToken(key, 'JWT', { ...claims, associationToken })}`; // JSON leaves out what is undefined
}

/** A token taken apart, and not yet verified. `signed` is what the signature is over. */
export interface Parsed {
  header: Record<string, unknown>;
  claims: Record<string, unknown>;
  signed: Uint8Array;
  signature: Uint8Array;
}

/** Throws `TypeError` or `SyntaxError` for what is not a compact token. */
export function parseToken(token: unknown): Parsed {
  const parts = typeof token === 'string' ? token.split('.') : [];
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) {
    throw new TypeError('is not a token');
  }
  return {
    header: parseObject(fromUtf8(fromBase64Url(header))),
    claims: parseObject(fromUtf8(fromBase64Url(payload))),
    signed: toUtf8(`${header}.${payload}`),
    signature: fromBase64Url(signature),
  };
}

/** Throws `TypeError` or `SyntaxError` for what is not a JSON object. */
export function parseObject(text: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new TypeError('is not an object');
  return parsed as Record<string, unknown>;
}

/** Hubs serve a file as it is being written, empty or cut off; what was cut off stays so. */
export function isWholeJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** base64url(SHA-256(body)): what binds a token to one body. */
function digestOf(body: string): string {
  return toBase64Url(sha256(toUtf8(body)));
}
