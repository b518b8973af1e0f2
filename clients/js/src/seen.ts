/** The highest `seq` of each card that was seen, so that a storage host cannot show an old one again. */
import type { State } from './state.js';

export class SeenCards {
  readonly #state: State;

  constructor(state: State) {
    this.#state = state;
  }

  /** 0 for the bucket of somebody who was never seen. */
  async highest(address: string): Promise<number> {
    return (await this.#state.read<number>('cards'))[address] ?? 0;
  }

  see(address: string, seq: number): Promise<boolean> {
    return this.#state.change<number>('cards', (seen) => {
      seen[address] = Math.max(seen[address] ?? 0, seq);
    });
  }
}
