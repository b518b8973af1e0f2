/** How far the logs of the own inboxes were in order: one file in the own bucket, which all devices of the owner share. */
import type { OwnBucket } from './bucket.js';
import { decrypt, encrypt, openEnvelope, signEnvelope } from './ecies.js';
import type { Random } from './ecies.js';
import { Absent, BucketFailed, CannotDecrypt, NotAuthentic, Unreachable } from './errors.js';
import type { AppKey } from './keys.js';
import { isPosition } from './log.js';
import type { Position } from './log.js';
import { getFile } from './requests.js';
import type { Fetch } from './requests.js';
import type { Table } from './state.js';
import { isWholeJson, parseObject } from './tokens.js';
import type { UnixTime } from './tokens.js';

export interface Checkpoint extends Position {
  /** When the log was in order up to here, by the server's clock. */
  at: UnixTime;
  /** When this log began for its owner: at the claim, or at the first audit. Nothing older is judged by it. */
  since: UnixTime;
  /** The server's own token for this head. */
  signed?: string;
  /** How long the server kept its log then, in seconds. */
  retention?: number;
}

export interface CheckpointsOptions {
  key: AppKey;
  fetch: Fetch;
  random: Random;
  bucket: () => Promise<OwnBucket>;
}

export interface Known {
  etag: string | undefined;
  /** No device has checked any log yet where it is not. */
  isThere: boolean;
  /** By inbox. */
  points: Table<Checkpoint>;
}

const FILE = 'checkpoint.json';
const MAX_BYTES = 64 * 1024;
const IS_OTHER = 412;
const TRIES = 4; // as many devices may finish an audit at once

export class Checkpoints {
  readonly #options: CheckpointsOptions;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
  }


  /** Write these; null drops one. What another device wrote since `before` was read stays where it is further. */
  async write(changed: Table<Checkpoint | null>, before: Table<Checkpoint>): Promise<void> {
    const { key, random } = this.#options;
    const bucket = await this.#options.bucket();
    for (let tries = 1; ; tries += 1) {
      const { etag, isThere, points } = await this.read();
      const merged = merge(points, changed, before);
      if (JSON.stringify(merged) === JSON.stringify(points)) return;
      const plain = JSON.stringify({ v: 1, inboxes: merged });
      try {
        const content = signEnvelope(key, encrypt(key.public, plain, random, 'base64'));
        await bucket.write(FILE, content, isThere ? { etag } : { isNew: true });
        return;
      } catch (error) {
        const isOther = error instanceof BucketFailed && error.status === IS_OTHER;
        if (!isOther || tries === TRIES) throw error;
      }
    }
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  async read(): Promise<Known> {
    const { fetch, key } = this.#options;
    const { url } = await this.#options.bucket();
    try {
      const { text, etag } = await getFile(fetch, url + FILE, { maxBytes: MAX_BYTES });
      if (!isWholeJson(text)) throw new Unreachable('The checkpoint in the own bucket is not whole: it may just be written.');
      return { etag, isThere: true, points: readCheckpoints(text, key) };
    } catch (error) {
      if (!(error instanceof Absent)) throw error;
      return { etag: undefined, isThere: false, points: {} };
    }
  }
}

/** Throws `BucketFailed` for what the owner did not write. */
export function readCheckpoints(text: string, key: AppKey): Table<Checkpoint> {
  try {
    const { signer, encrypted } = openEnvelope(text);
    const { v, inboxes } = parseObject(String(decrypt(key, encrypted)));
    if (signer.hex === key.public.hex && v === 1) {
      return Object.fromEntries(Object.entries(Object(inboxes)).map(([inbox, point]) => [inbox, readPoint(point)]));
    }
  } catch (error) {
    const isOther = error instanceof NotAuthentic || error instanceof CannotDecrypt || error instanceof TypeError || error instanceof SyntaxError;
    if (!isOther) throw error;
  }
  throw new BucketFailed('The checkpoint in the own bucket is not what this key wrote.', { isForNow: false });
}

function readPoint(value: unknown): Checkpoint {
  if (!isPosition(value)) throw new TypeError('is no checkpoint');
  const { n, head, at = 0, since = at, signed, retention = 0 } = value as Partial<Checkpoint> & Position;
  if (![at, since, retention].every((time) => Number.isSafeInteger(time) && time >= 0)) throw new TypeError('is no checkpoint');
  return { n, head, at, since, ...(typeof signed === 'string' ? { signed } : {}), ...(retention ? { retention } : {}) };
}

function merge(known: Table<Checkpoint>, changed: Table<Checkpoint | null>, before: Table<Checkpoint>): Table<Checkpoint> {
  const merged = { ...known };
  for (const [inbox, point] of Object.entries(changed)) {
    const theirs = known[inbox];
    const isNews = theirs && JSON.stringify(theirs) !== JSON.stringify(before[inbox]);
    if (isNews && point && (theirs.since > point.since || (theirs.since === point.since && theirs.n >= point.n))) continue;
    if (point) merged[inbox] = point;
    else delete merged[inbox];
  }
  return merged;
}
