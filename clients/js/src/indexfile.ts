/**
 * The index that a sender keeps in their own bucket for each recipient and week: what was sent, and the receipts for it.
 * Encrypted and signed to the recipient, who finds in it what a server did not show.
 */
import { toUtf8 } from './bytes.js';
import { decrypt, decryptAs, encrypt, openEnvelope, signEnvelope } from './ecies.js';
import type { Random } from './ecies.js';
import { NotAuthentic } from './errors.js';
import type { AppKey } from './keys.js';
import type { Pair } from './pairs.js';
import { isMessageFile } from './pointer.js';
import { isBytes, isReceipt } from './receipts.js';
import type { SignedReceipt } from './receipts.js';
import { parseObject } from './tokens.js';
import type { UnixTime } from './tokens.js';
import type { Table } from './state.js';

export interface IndexEntry {
  /** The pair's own counter, from 1. */
  n: number;
  /** The message's file in the sender's bucket. */
  id: string;
  /** The `id` that inboxes list it by. */
  entry: string;
  expires: UnixTime;
  /** By the origin of the inbox server that gave it. */
  receipts: Table<KeptReceipt>;
}

/** With `expires` of the same answer. The file leaves it out where it is the entry's. */
export type KeptReceipt = SignedReceipt & { expires: UnixTime };

const BLOCK_BYTES = 4096; // so that the size tells little
/** Of a file: enough for several thousand messages in a week. */
export const MAX_INDEX_BYTES = 16 << 20;

/** The content of the file. */
export function makeIndex(key: AppKey, pair: Pair, week: number, entries: readonly IndexEntry[], random: Random): string {
  const plain = JSON.stringify({ v: 1, week, from: pair.from.hex, to: pair.to.hex, entries: entries.map(shortened) });
  const padding = ' '.repeat(-toUtf8(plain).length & (BLOCK_BYTES - 1));
  return signEnvelope(key, encrypt(pair.to, plain + padding, random, 'base64', pair.indexKey(week)));
}

/**
 * The entries in a file, for whoever of the two has `key`. Throws `NotAuthentic` or `CannotDecrypt` for what the sender
 * did not write for this pair and week.
 */
export function readIndex(text: string, pair: Pair, week: number, key: AppKey): IndexEntry[] {
  const { signer, encrypted } = openEnvelope(text);
  if (signer.hex !== pair.from.hex) throw new NotAuthentic('The index is not signed by its sender.');
  const isOwn = key.public.hex === pair.from.hex;
  const plain = isOwn ? decryptAs(pair.indexKey(week), pair.to, encrypted) : decrypt(key, encrypted);
  try {
    const { v, week: stated, from, to, entries } = parseObject(String(plain));
    const isMeant = v === 1 && stated === week && from === pair.from.hex && to === pair.to.hex;
    if (isMeant && Array.isArray(entries)) return entries.map(readEntry);
  } catch {
    // not JSON: as below
  }
  throw new NotAuthentic('The index is not one of this sender, reader and week.');
}

/** Both lists as one, by delivery: the longest life, and every inbox's latest receipt. */
export function mergeEntries(before: readonly IndexEntry[], added: readonly IndexEntry[]): IndexEntry[] {
  const merged = new Map(before.map((entry) => [entry.entry, entry]));
  for (const entry of added) {
    const known = merged.get(entry.entry) ?? entry;
    const expires = Math.max(entry.expires, known.expires);
    merged.set(entry.entry, { ...entry, expires, receipts: { ...known.receipts, ...entry.receipts } });
  }
  return [...merged.values()].sort((one, other) => one.n - other.n);
}

function shortened({ receipts, ...entry }: IndexEntry): object {
  const kept = Object.entries(receipts).map(([inbox, { token, salt, path, expires }]) => {
    return [inbox, expires === entry.expires ? { token, salt, path } : { token, salt, path, expires }];
  });
  return { ...entry, receipts: Object.fromEntries(kept) };
}

/** A receipt that has not the form of one is left out: it proves nothing. */
function readEntry(value: unknown): IndexEntry {
  const { n, id, entry, expires: until, receipts } = Object(value) as Record<string, unknown>;
  const areNumbers = [n, until].every((number) => Number.isSafeInteger(number) && Number(number) >= 0);
  if (!areNumbers || !isMessageFile(id) || !isBytes(entry, 32)) throw new TypeError('is no entry');
  const expires = Number(until);
  const kept = Object.entries(Object(receipts)).map(([inbox, receipt]): [string, KeptReceipt] => [inbox, { expires, ...Object(receipt) }]);
  const good = kept.filter(([, receipt]) => isReceipt(receipt) && Number.isSafeInteger(receipt.expires));
  return { n: Number(n), id, entry, expires, receipts: Object.fromEntries(good) };
}
