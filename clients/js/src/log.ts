/**
 * The log of an inbox, as its owner checks it: every entry has a number and is hashed into the head of the one before, so
 * that nothing can be taken out, put in or put elsewhere without another head.
 */
import { sha256 } from '@noble/hashes/sha2.js';

import { be64, concat, fromBase64Url, toBase64Url, toUtf8 } from './bytes.js';
import { Unreachable } from './errors.js';
import { claimsOf, isBytes } from './receipts.js';
import type { UnixTime } from './tokens.js';

/** A place in a log, and the head there: base64url of 32 bytes. */
export interface Position {
  n: number;
  head: string;
}

/** An answer of `GET /v1/inbox/log`. */
export interface LogPage {
  base: Position;
  entries: { n: number; id: string }[];
  more: boolean;
  head: Position;
  signed: string;
}

/** An answer as it came, and the nonce that it was asked with. */
export interface LogAnswer {
  page: LogPage;
  nonce: string;
}

/** Whose log it must be. */
export interface LogOwner {
  /** The server's origin. */
  inbox: string;
  /** The server's receipt keys that the own card has named, newest first. */
  keys: readonly string[];
  /** The owner's app address. */
  address: string;
}

/** What is wrong with a log by itself. `other_key` accuses nobody. */
export type LogFault = 'other_key' | 'replayed' | 'rewritten';

export interface CheckedLog {
  base: Position;
  head: Position;
  /** The number of each entry; the first, where one was logged again because its life became longer. */
  numbers: ReadonlyMap<string, number>;
  /** By the server's clock, when it signed the last head. */
  at: UnixTime;
  /** The UTC day of the last time that the operator put a copy back, if that was since the oldest entry. */
  restored: number | undefined;
  fault: LogFault | undefined;
  /** The heads at these numbers, as far as they were asked for. */
  heads: ReadonlyMap<number, string>;
}

const HEAD_TYPE = 'inbox-head+jwt';
const LABEL = toUtf8('message-inbox-log');
const ONE = Uint8Array.of(1);
const DAY_SECONDS = 86_400;

export function nextHead(head: Uint8Array, n: number, id: Uint8Array): Uint8Array {
  return sha256(concat(ONE, LABEL, head, be64(n), id));
}

/** Throws `Unreachable` for what is no answer of the protocol. */
export function readLogPage(document: Record<string, unknown>): LogPage {
  const { base, entries, more, head, signed } = document;
  const isWhole = isPosition(base) && isPosition(head) && Array.isArray(entries) && entries.every(isEntry);
  if (!isWhole || typeof more !== 'boolean' || typeof signed !== 'string') {
    throw new Unreachable('The answer is not a log of the protocol.');
  }
  return { base, entries, more, head, signed };
}

/** All answers of one reading, in order; `points` are numbers whose heads the caller wants to know. */
export function checkLog(answers: readonly LogAnswer[], owner: LogOwner, points: readonly number[] = []): CheckedLog {
  const [first, last] = [answers[0], answers.at(-1)];
  if (!first || !last) throw new TypeError('A log has at least one answer.');
  const entries = answers.flatMap(({ page }) => page.entries);
  const told = answers.flatMap(({ page }) => [page.base, page.head]);
  const wanted = new Set([...points, ...told.map(({ n }) => n)]);
  const heads = fold(first.page.base, entries, wanted);
  const claims = answers.map((answer) => signedClaims(answer, owner));
  const isConsecutive = entries.every(({ n }, at) => n === first.page.base.n + at + 1);
  const isOnPath = told.every(({ n, head }) => (heads.get(n) ?? head) === head) && heads.get(last.page.head.n) === last.page.head.head;
  const fault = claims.map((each) => (typeof each === 'string' ? each : undefined)).find(Boolean);
  const { iat, restored } = Object(claims.at(-1));
  return {
    base: last.page.base,
    head: last.page.head,
    numbers: new Map([...entries].reverse().map(({ id, n }) => [id, n])),
    at: Number(iat ?? 0),
    restored: Number.isSafeInteger(restored) ? Number(restored) : undefined,
    fault: fault ?? (isConsecutive && isOnPath ? undefined : 'rewritten'),
    heads,
  };
}

/** The heads at the wanted numbers, from the base on. */
function fold(base: Position, entries: LogPage['entries'], wanted: ReadonlySet<number>): Map<number, string> {
  let head: Uint8Array = fromBase64Url(base.head);
  const heads = new Map([[base.n, base.head]]);
  for (const { n, id } of entries) {
    head = nextHead(head, n, fromBase64Url(id));
    if (wanted.has(n)) heads.set(n, toBase64Url(head));
  }
  return heads;
}

/** What the server signed about an answer; or what is wrong with that. */
function signedClaims({ page, nonce }: LogAnswer, { inbox, keys, address }: LogOwner): Record<string, unknown> | LogFault {
  const claims = keys.map((key) => claimsOf(page.signed, HEAD_TYPE, key)).find(Boolean);
  if (!claims) return 'other_key';
  if (claims.nonce !== nonce || claims.iss !== inbox || claims.sub !== address) return 'replayed';
  const isShown = isSame(claims.base, page.base) && isSame(claims.head, page.head);
  return isShown ? claims : 'rewritten';
}

function isSame(claim: unknown, { n, head }: Position): boolean {
  return isPosition(claim) && claim.n === n && claim.head === head;
}

export function isPosition(value: unknown): value is Position {
  const { n, head } = Object(value) as Record<string, unknown>;
  return Number.isSafeInteger(n) && Number(n) >= 0 && isBytes(head, 32);
}

function isEntry(value: unknown): value is { n: number; id: string } {
  const { n, id } = Object(value) as Record<string, unknown>;
  return Number.isSafeInteger(n) && isBytes(id, 32);
}

/** Whether a delivery that was made `now` and lives until `expires` is in the log: until the end of a later UTC day. */
export function isLogged(expires: UnixTime, now: UnixTime): boolean {
  return expires % DAY_SECONDS === DAY_SECONDS - 1 && Math.floor(expires / DAY_SECONDS) > Math.floor(now / DAY_SECONDS);
}
