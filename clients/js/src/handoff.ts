/** Hands items from several producers to one reader. A producer continues only after the reader has handled its item. */
export class Handoff<Item> {
  readonly #given: { item: Item; dealtWith: () => void }[] = [];
  #wake: () => void = () => undefined;
  #failure: { error: unknown } | undefined;

  /** Resolves when the reader asks for the next one, and never when the reader has left. */
  give(item: Item): Promise<void> {
    return new Promise((dealtWith) => {
      this.#given.push({ item, dealtWith });
      this.#wake();
    });
  }

  /** The reader gets `error` after what was given before. */
  fail(error: unknown): void {
    this.#failure = { error };
    this.#wake();
  }

  /** Ends when `signal` aborts. */
  async *items(signal: AbortSignal): AsyncGenerator<Item, void, undefined> {
    signal.addEventListener('abort', () => this.#wake());
    while (!signal.aborted) {
      const next = this.#given.shift();
      if (next) {
        yield next.item;
        next.dealtWith();
      } else if (this.#failure) {
        throw this.#failure.error;
      } else {
        await new Promise<void>((wake) => (this.#wake = wake));
      }
    }
  }
}
