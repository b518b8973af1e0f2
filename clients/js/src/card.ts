/** The inbox card: where its owner takes deliveries, signed by the key of the bucket that it lies in. */
import { BadCard, Unreachable } from './errors.js';
import { isOrigin } from './identities.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import type { Table } from './state.js';
import { MOST_PER } from './tickets.js';
import type { Sealed } from './tickets.js';
import { isWholeJson, parseObject, parseToken, signToken, TOKEN_SECONDS } from './tokens.js';
import type { UnixTime } from './tokens.js';

export const CARD_FILE = 'inbox.json';
export const MAX_CARD_BYTES = 4096;
export const MAX_INBOXES = 3;
/** Replaces a card whose owner gave up all inboxes, because not every hub deletes files. */
export const NO_CARD = '{}';
const CARD_TYPE = 'inbox-card+jwt';
const MAX_CARD_SECONDS = 400 * 86_400;

export interface Card {
  inboxes: string[];
  /** It only grows: a lower one than seen before is a replay. */
  seq: number;
  /** For each inbox the key that its server signs receipts with, 66 hex characters; null for a server without receipts. */
  receiptKeys?: (string | null)[];
  /** That there are tickets for sealed delivery, not for whom. */
  sealed?: Sealed;
}

/** The receipt keys that there are, by inbox. */
export function receiptKeysOf({ inboxes, receiptKeys = [] }: Card): Table<string> {
  const pairs = inboxes.map((inbox, at) => [inbox, receiptKeys[at]]);
  return Object.fromEntries(pairs.filter(([, key]) => typeof key === 'string'));
}

/** The content of `inbox.json`. */
export function makeCard(key: AppKey, card: Card, now: UnixTime): string {
  const { inboxes, seq, receiptKeys, sealed } = card;
  const keys = receiptKeys?.some((each) => each !== null) ? { receipt_keys: receiptKeys } : {};
  const claims = { iss: key.public.hex, inboxes, seq, ...keys, ...(sealed ? { sealed: { per: sealed.per, edition: sealed.edition } } : {}), iat: now, exp: now + MAX_CARD_SECONDS };
  return JSON.stringify({ card: signToken(key, CARD_TYPE, claims) });
}

export interface TimedCard extends Card {
  iat: UnixTime;
  exp: UnixTime;
}

export function isValidAt({ iat, exp }: TimedCard, now: UnixTime): boolean {
  return iat <= now + TOKEN_SECONDS && now < exp && exp <= iat + MAX_CARD_SECONDS;
}

/**
 * The card in a file of the bucket at `address`, even if it has expired: see `isValidAt`. Throws `BadCard` unless that
 * bucket's key signed it, and `Unreachable` for a file that is not whole: it is just being written.
 */
export function readCard(text: string, address: string): TimedCard {
  if (!isWholeJson(text)) throw new Unreachable('The inbox card is not whole: it may just be written.');
  if (text.trim() === NO_CARD) throw new BadCard('The inbox card was withdrawn: its owner gave all inboxes up.', { isNone: true });
  const { iss, claims } = openCard(text);
  if (iss.address !== address) throw new BadCard('The inbox card is not signed by the key of its bucket.');
  const { inboxes, seq, iat, exp } = claims;
  if (!isWhole(seq) || !isWhole(iat) || !isWhole(exp)) throw new BadCard('The inbox card has a number that is not whole.');
  if (!Array.isArray(inboxes) || inboxes.length < 1 || inboxes.length > MAX_INBOXES || !inboxes.every(isOrigin)) {
    throw new BadCard('The inbox card does not name one to three inbox servers.');
  }
  return { inboxes, seq, iat, exp, ...readReceiptKeys(claims.receipt_keys, inboxes.length), ...readSealed(claims.sealed) };
}

function readSealed(claim: unknown): Pick<Card, 'sealed'> {
  if (claim === undefined) return {};
  const { per, edition } = Object(claim) as Record<string, unknown>;
  if (!isWhole(per) || per < 1 || per > MOST_PER || !isWhole(edition) || edition < 0) {
    throw new BadCard('The inbox card does not say how many tickets there are, and of which edition.');
  }
  return { sealed: { per, edition } };
}

function readReceiptKeys(keys: unknown, count: number): Pick<Card, 'receiptKeys'> {
  if (keys === undefined) return {};
  if (!Array.isArray(keys) || keys.length !== count || !keys.every((key) => key === null || isKey(key))) {
    throw new BadCard('The inbox card does not give each inbox server a receipt key or null.');
  }
  return { receiptKeys: keys };
}

function isKey(text: unknown): boolean {
  try {
    return Boolean(PublicKey.parse(text));
  } catch {
    return false;
  }
}

function openCard(text: string): { iss: PublicKey; claims: Record<string, unknown> } {
  try {
    const { header, claims, signed, signature } = parseToken(parseObject(text).card);
    const isCard = header.typ === CARD_TYPE && header.alg === 'ES256K' && Object.keys(header).length === 2;
    const iss = PublicKey.parse(claims.iss);
    if (isCard && iss.signed(signed, signature)) return { iss, claims };
  } catch {
    // a file that cannot be read is not a card, and neither is an unsigned one
  }
  throw new BadCard('What lies there is not a signed inbox card.');
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
