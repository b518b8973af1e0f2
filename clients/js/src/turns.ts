/** Limits how many run at a time for each key, such as a host. The others wait in order. */
export class Turns {
  readonly #most: number;
  readonly #running = new Map<string, number>();
  readonly #queues = new Map<string, (() => void)[]>();

  constructor(most: number) {
    this.#most = most;
  }

  async take<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const running = this.#running.get(key) ?? 0;
    if (running < this.#most) this.#running.set(key, running + 1);
    else await new Promise<void>((go) => this.#queues.set(key, [...(this.#queues.get(key) ?? []), go]));
    try {
      return await work();
    } finally {
      this.#leave(key);
    }
  }

  /** Gives the place to the next one, or frees it. */
  #leave(key: string): void {
    const [next, ...rest] = this.#queues.get(key) ?? [];
    if (rest.length > 0) this.#queues.set(key, rest);
    else this.#queues.delete(key);
    if (next) return next();
    const left = (this.#running.get(key) ?? 0) - 1;
    if (left > 0) this.#running.set(key, left);
    else this.#running.delete(key);
  }
}
