/** How far the logs of the own inboxes were in order: one file in the own bucket, which all devices of the owner share. */
import type { InboxError } from './errors.js';
import type { AppKey } from './keys.js';
import { isPosition } from './log.js';
import type { Position } from './log.js';
import { BadOwnFile, OwnFile, readOwn } from './ownfile.js';
import type { Form, OwnFileOptions } from './ownfile.js';
import type { Table } from './state.js';
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

export interface Known {
  /** No device has checked any log yet where it is not. */
  isThere: boolean;
  /** By inbox. */
  points: Table<Checkpoint>;
  /** Why the file tells nothing, where it is damaged: then `write` replaces it. */
  problem?: InboxError;
}

const FORM: Form<{ inboxes: Table<Checkpoint> }> = {
  name: 'checkpoint.json',
  maxBytes: 64 * 1024,
  read: ({ inboxes }) => ({
    inboxes: Object.fromEntries(Object.entries(Object(inboxes)).map(([inbox, point]) => [inbox, readPoint(point)])),
  }),
};

export class Checkpoints {
  readonly #file: OwnFile<{ inboxes: Table<Checkpoint> }>;

  constructor(options: OwnFileOptions) {
    this.#file = new OwnFile(options, FORM);
  }

  /** Write these; null drops one. What another device wrote since `before` was read stays where it is further. */
  async write(changed: Table<Checkpoint | null>, before: Table<Checkpoint>): Promise<void> {
    await this.#file.update((known) => {
      const inboxes = merge(known?.inboxes ?? {}, changed, before);
      return JSON.stringify(inboxes) === JSON.stringify(known?.inboxes ?? {}) ? known : { inboxes };
    }, { replacesBad: true });
  }

  /** Throws `BucketFailed` or `Unreachable`. */
  async read(): Promise<Known> {
    try {
      const { known } = await this.#file.read();
      return { isThere: known !== undefined, points: known?.inboxes ?? {} };
    } catch (problem) {
      if (!(problem instanceof BadOwnFile)) throw problem;
      return { isThere: true, points: {}, problem };
    }
  }
}

/** Throws `BucketFailed` for what the owner did not write. */
export function readCheckpoints(text: string, key: AppKey): Table<Checkpoint> {
  return readOwn(text, key, FORM).inboxes;
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
