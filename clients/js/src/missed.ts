/** Entries whose messages could not be fetched for now: a `watch` comes back to them, in pauses that grow. */
import type { Entry } from './news.js';
import type { Listed } from './pages.js';
import type { UnixTime } from './tokens.js';
import type { Ticks } from './waits.js';

const FIRST_SECONDS = 60;
const LONGEST_SECONDS = 3600;
const MOST = 1000; // the oldest are forgotten first: the next `watch` lists them

export class Missed {
  readonly #ticks: Ticks;
  readonly #entries = new Map<string, { entry: Entry; pause: number; at: number }>();

  constructor(ticks: Ticks) {
    this.#ticks = ticks;
  }

  note(entry: Listed): void {
    if (this.#entries.has(entry.id)) return; // it is due again by itself
    this.#entries.set(entry.id, { entry: { inboxes: [], ...entry }, pause: FIRST_SECONDS, at: this.#ticks() + FIRST_SECONDS });
    for (const oldest of [...this.#entries.keys()].slice(0, -MOST)) this.#entries.delete(oldest);
  }

  /** They were fetched, or read, or never can be. */
  forget(ids: readonly string[]): void {
    for (const id of ids) this.#entries.delete(id);
  }

  /** What it is time to try again, without what has expired. */
  due(now: UnixTime): Entry[] {
    const ticks = this.#ticks();
    const due = [...this.#entries.values()].filter(({ at }) => at <= ticks);
    for (const each of due) {
      each.pause = Math.min(each.pause * 2, LONGEST_SECONDS);
      each.at = ticks + each.pause;
      if (each.entry.expires <= now) this.#entries.delete(each.entry.id);
    }
    return due.filter(({ entry }) => entry.expires > now).map(({ entry }) => entry);
  }
}
