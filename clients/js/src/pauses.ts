/** Until when a server asked to be left alone, by what it was asked for. */
import { Refused } from './errors.js';
import type { Ticks } from './waits.js';

const MOST = 1000;

export class Pauses {
  readonly #ticks: Ticks;
  readonly #known = new Map<string, { until: number; problem: Refused }>();

  constructor(ticks: Ticks) {
    this.#ticks = ticks;
  }

  /** Throws what the server said, with what is left of the time. */
  obey(what: string): void {
    const paused = this.#known.get(what);
    if (!paused) return;
    const left = Math.ceil(paused.until - this.#ticks());
    if (left > 0) throw new Refused(paused.problem.status, { ...paused.problem }, left);
    this.#known.delete(what);
  }

  remember(what: string, problem: Refused): void {
    if (problem.retryAfterSeconds === undefined) return;
    if (this.#known.size >= MOST) this.#known.clear();
    this.#known.set(what, { until: this.#ticks() + problem.retryAfterSeconds, problem });
  }
}
