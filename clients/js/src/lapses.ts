/**
 * Since when something has been missing. One answer proves little: name services are built anew, hubs move, and caches
 * remember "not found", all for hours. Only what has been missing for three days, which covers a weekend, is gone.
 */
import { Unreachable } from './errors.js';
import type { InboxError } from './errors.js';
import type { State } from './state.js';
import type { UnixTime } from './tokens.js';

const LAPSE_SECONDS = 3 * 86_400;
const MAX_REMEMBERED = 1000;

export class Lapses {
  readonly #state: State;
  readonly #clock: () => UnixTime;
  readonly #askTime: () => Promise<UnixTime | undefined>;

  /** `askTime` says what the time is by an own inbox; undefined where none says it. */
  constructor(state: State, clock: () => UnixTime, askTime: () => Promise<UnixTime | undefined>) {
    this.#state = state;
    this.#clock = clock;
    this.#askTime = askTime;
  }

  /** What `look` finds. Throws what it does, and says of what may be a lapse whether it is one still. */
  async during<Result>(what: string, look: () => Promise<Result>): Promise<Result> {
    try {
      const found = await look();
      if (what in (await this.#state.read<UnixTime>('missing'))) await this.#state.change('missing', (since) => delete since[what]);
      return found;
    } catch (error) {
      const problem = error as InboxError;
      if (problem.isForNow && !(problem instanceof Unreachable)) problem.isForNow = await this.#isLapse(what);
      throw problem;
    }
  }

  /** A clock that goes wrong for a moment must not end one: then an own inbox's time counts. */
  async #isLapse(what: string): Promise<boolean> {
    const now = this.#clock();
    const before = (await this.#state.read<UnixTime>('missing'))[what];
    if (before !== undefined && before <= now) return now - before < LAPSE_SECONDS || ((await this.#askTime()) ?? 0) - before < LAPSE_SECONDS;
    await this.#state.change<UnixTime>('missing', (since) => {
      since[what] = now;
      for (const oldest of Object.keys(since).slice(0, -MAX_REMEMBERED)) delete since[oldest];
    });
    return true;
  }
}
