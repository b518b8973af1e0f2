/** When the log of an own inbox began for its owner: a claim that makes the inbox anew starts another log. */
import { toBase64Url } from './bytes.js';
import type { Checkpoint, Checkpoints, Known } from './checkpoint.js';
import type { Random } from './ecies.js';
import { InboxError } from './errors.js';
import type { Inbox } from './inbox.js';
import type { Audited } from './judging.js';
import { mark } from './marks.js';
import type { Settled } from './options.js';
import type { State, Table } from './state.js';
import type { UnixTime } from './tokens.js';

const DAY_SECONDS = 86_400;

/** `claimed_again`: no device of the owner has deleted the one that was there, so its operator has deleted or lost it. */
export type Made = 'claimed' | 'claimed_again';

export class Beginnings {
  readonly #state: State;
  readonly #checkpoints: Checkpoints;
  readonly #random: Random;
  readonly #clock: () => UnixTime;

  constructor(state: State, checkpoints: Checkpoints, { random, clock }: Pick<Settled, 'random' | 'clock'>) {
    this.#state = state;
    this.#checkpoints = checkpoints;
    this.#random = random;
    this.#clock = clock;
  }

  /** As this device noted it, which counts also where the checkpoint could not be written. 0 for what it did not claim. */
  async of(url: string): Promise<UnixTime> {
    return (await this.#state.read<UnixTime>('begun'))[url] ?? 0;
  }

  /** The inbox is about to be made: nothing that was seen of one before it is held against its log. */
  async note({ url, time }: Inbox): Promise<void> {
    await this.#forget(url);
    await this.#note(url, time);
  }

  /**
   * The inbox was just made: its log is checked from here on, by all devices. Receipts have days only: where there may
   * have been a log before, what is of today is not judged by this one.
   */
  async begin(inbox: Inbox): Promise<Made> {
    const { url, time } = inbox;
    let made: Made = 'claimed';
    await this.note(inbox);
    await this.#share(inbox, async ({ isThere, points }) => {
      if (points[url]) made = 'claimed_again';
      const { limits } = await inbox.capabilities();
      const { cursor } = await inbox.page(undefined, 1);
      await mark(this.#state, inbox, cursor);
      const { head, signed } = await inbox.log(undefined, toBase64Url(this.#random(16)));
      const since = isThere ? time : Math.floor(time / DAY_SECONDS) * DAY_SECONDS - 1;
      await this.#note(url, since);
      const audited: Audited = { n: head.n, at: time, here: this.#clock(), cursor, since };
      await this.#state.change<Audited>('audited', (all) => void (all[url] = audited));
      return { [url]: { ...head, at: time, since, signed, retention: Number(limits?.max_retention_seconds ?? 0) } };
    });
    return made;
  }

  /** The inbox is about to be deleted. Throws an `InboxError`: other devices would take its next log for a forged one. */
  async end(inbox: Inbox): Promise<void> {
    const { url } = inbox;
    if (await inbox.hasFeature('log')) await this.#drop(url);
    await this.#forget(url);
  }

  async #drop(url: string): Promise<void> {
    const { points } = await this.#checkpoints.read();
    if (points[url]) await this.#checkpoints.write({ [url]: null }, points);
  }

  async #note(url: string, since: UnixTime): Promise<void> {
    await this.#state.change<UnixTime>('begun', (begun) => void (begun[url] = since));
  }

  async #forget(url: string): Promise<void> {
    for (const name of ['audited', 'listed', 'marks', 'cursors']) await this.#state.change(name, (table) => void delete table[url]);
  }

  /** What cannot be shared with other devices now is made good by the next audit. */
  async #share(inbox: Inbox, change: (known: Known) => Promise<Table<Checkpoint | null>>): Promise<void> {
    try {
      if (!(await inbox.hasFeature('log'))) return;
      const known = await this.#checkpoints.read();
      const changed = await change(known);
      if (Object.keys(changed).length > 0) await this.#checkpoints.write(changed, known.points);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
    }
  }
}
